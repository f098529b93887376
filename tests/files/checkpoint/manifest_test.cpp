// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/manifest.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "core/file.h"
#include "support/temp_dir.h"
#include "version/version.h"

namespace espalier::checkpoint {
namespace {

TEST(Manifest, ReadsWhatItWrites) {
  const support::TempDir dir;
  EXPECT_FALSE(has_manifest(dir.path()));
  Manifest written;
  written.stage = "prune";
  written.algorithm = 3;
  written.inputs = {{"model", "ab"}, {"text", "cd"}};
  written.options = {{"seed", 7}, {"criterion", "activation"}};
  written.metrics = {{"parameters_after", 94712345}, {"loss", 0.1}};
  written.outputs = {{"model.safetensors", "ef"}};
  write_manifest(dir.path(), written);
  ASSERT_TRUE(has_manifest(dir.path()));
  const std::string text = core::read_text_file(dir.file("manifest.json"));
  const Manifest read = read_manifest(dir.path());
  EXPECT_EQ(read.stage, "prune");
  EXPECT_EQ(read.algorithm, 3);
  EXPECT_EQ(read.tool_version, tool_version());
  EXPECT_EQ(read.tool_version, "espalier " + version::full());
  EXPECT_EQ(read.inputs, written.inputs);
  EXPECT_EQ(read.options.dump(), written.options.dump());  // order included
  EXPECT_EQ(read.metrics.dump(), written.metrics.dump());
  EXPECT_EQ(read.outputs, written.outputs);
  write_manifest(dir.path(), read);
  EXPECT_EQ(core::read_text_file(dir.file("manifest.json")), text);
}

TEST(Manifest, OneThatRecordsNoAlgorithmIsReadAsAlgorithmZeroWhichNoKindHas) {
  const support::TempDir dir;
  write_manifest(dir.path(), {.stage = "prune", .algorithm = 1});
  nlohmann::ordered_json json =
      nlohmann::ordered_json::parse(core::read_text_file(dir.file("manifest.json")));
  json.erase("algorithm");
  core::write_text_file(dir.file("manifest.json"), json.dump());
  EXPECT_EQ(read_manifest(dir.path()).algorithm, 0);
  EXPECT_EQ(stage_kinds().size(), 6u);
  for (const std::string& kind : stage_kinds()) EXPECT_GE(algorithm_version(kind), 1) << kind;
  EXPECT_THROW(algorithm_version("pruned"), core::Error);
}

TEST(Manifest, RefusesBrokenOnesNamingThePlace) {
  const support::TempDir dir;
  write_manifest(dir.path(), {.stage = "prune"});
  const std::string good = core::read_text_file(dir.file("manifest.json"));
  const auto message = [&](const std::string& text) -> std::string {
    core::write_text_file(dir.file("manifest.json"), text);
    try {
      read_manifest(dir.path());
    } catch (const core::Error& error) {
      EXPECT_EQ(error.kind(), core::ErrorKind::input);
      return error.what();
    }
    return "accepted";
  };
  EXPECT_EQ(message(good), "accepted");
  EXPECT_NE(message(good.substr(0, good.size() / 2)).find("not JSON at byte"), std::string::npos);
  EXPECT_NE(message("[]").find("object"), std::string::npos);
  EXPECT_NE(message("{\"stage\": " + std::string(100000, '[')).find("levels of nesting"),
            std::string::npos);
  for (const std::string key :
       {"format", "stage", "tool_version", "inputs", "options", "metrics", "outputs"}) {
    nlohmann::ordered_json json = nlohmann::ordered_json::parse(good);
    json.erase(key);
    EXPECT_NE(message(json.dump()).find("\"" + key + "\""), std::string::npos) << key;
    json[key] = 3;
    EXPECT_NE(message(json.dump()).find("\"" + key + "\""), std::string::npos) << key;
  }
  for (const nlohmann::ordered_json& wrong :
       {nlohmann::ordered_json("1"), nlohmann::ordered_json(-1), nlohmann::ordered_json(1.5),
        nlohmann::ordered_json(nullptr), nlohmann::ordered_json(std::uint64_t{1} << 63)}) {
    nlohmann::ordered_json json = nlohmann::ordered_json::parse(good);
    json["algorithm"] = wrong;
    EXPECT_NE(message(json.dump()).find("\"algorithm\""), std::string::npos) << wrong;
  }
  nlohmann::ordered_json json = nlohmann::ordered_json::parse(good);
  json["inputs"]["model"] = 3;
  EXPECT_NE(message(json.dump()).find("inputs.model"), std::string::npos);
}

}  // namespace
}  // namespace espalier::checkpoint
