// SPDX-License-Identifier: Apache-2.0
// A key without a value is a line left to be filled in: refused at its place, whatever the key,
// never taken for an absent one.
#include <gtest/gtest.h>

#include <cstdio>
#include <fstream>
#include <functional>

#include "core/error.h"
#include "distill/options.h"
#include "recipe/option_reader.h"
#include "recipe/stage_keys.h"
#include "verify/verify.h"

namespace espalier::recipe {
namespace {

const std::vector<std::string> kNothing{"~", "null", "\"\"", "''"};

void expect_refused(const std::function<void()>& read, const std::string& file,
                    const std::string& key, const std::string& place = "") {
  try {
    read();
    ADD_FAILURE() << key << ": accepted";
  } catch (const core::Error& e) {
    const std::string message = e.what();
    EXPECT_EQ(e.kind(), core::ErrorKind::input) << message;
    const std::size_t at = message.find(file + ":" + place);
    ASSERT_NE(at, std::string::npos) << key << ": " << message;
    int line = 0, column = 0;
    EXPECT_EQ(std::sscanf(message.c_str() + at + file.size(), ":%d:%d", &line, &column), 2)
        << message;
    EXPECT_NE(message.find(key + ": has no value"), std::string::npos) << key << ": " << message;
  }
}

TEST(EmptyValue, IsRefusedForEveryKeyOfEveryKindOfStage) {
  const RecipeFolder folder;
  std::size_t n = 0;
  for (const std::string& kind : kinds()) {
    const Recipe recipe = folder.parse(kind, {});
    for (const std::string& key : recipe.stages.back().known_keys)
      for (const std::string& nothing : kNothing) {
        expect_refused([&] { folder.parse(kind, {{key, nothing}}); }, "r.yaml", key);
        ++n;
      }
  }
  EXPECT_EQ(n, 151 * kNothing.size());
}

TEST(EmptyValue, IsRefusedBesideTheStages) {
  const RecipeFolder folder;
  for (const std::string& nothing : kNothing) {
    for (const char* key : {"name", "seed", "teacher", "teacher_shape", "text", "stages"})
      expect_refused([&] { folder.parse("prune", {}, {{key, nothing}}); }, "r.yaml", key);
    for (const char* key :
         {"train", "held_out", "train_sha256", "held_out_sha256", "control_tokens"})
      expect_refused([&] { folder.parse("prune", {}, {}, {{key, nothing}}); }, "r.yaml", key);
  }
}

TEST(EmptyValue, IsRefusedForEveryGateAndTensor) {
  const RecipeFolder folder;
  const std::string path = folder.dir.file("gates.yaml");
  EXPECT_EQ(verify::gate_names().size(), 27u);
  for (const std::string& gate : verify::gate_names())
    for (const std::string& nothing : kNothing) {
      std::ofstream(path) << "# to be filled in\n" + gate + ": " + nothing + "\n";
      expect_refused(
          [&] {
            const auto stage = stages::find_kind("verify")->make();
            read_map_file(path, stage->options().at("gates"));
          },
          "gates.yaml", gate, "2:1");
      expect_refused(
          [&] { folder.parse("verify", {{"gates", "{" + gate + ": " + nothing + "}"}}); }, "r.yaml",
          gate);
    }
  for (const std::string& nothing : kNothing)
    for (const char* tensor : {"attn_q", "attn_q.1", "token_embd"})
      expect_refused(
          [&] {
            folder.parse("quantize",
                         {{"tensors", std::string("{") + tensor + ": " + nothing + "}"}});
          },
          "r.yaml", tensor);
}

TEST(EmptyValue, IsRefusedInAPartAndDoesNotTakeADefaultAway) {
  const RecipeFolder folder;
  const std::string part = folder.dir.file("part.yaml");
  core::write_text_file(part, "clip_norm: 2\nbeta1:\n");
  expect_refused([&] { folder.parse("distill", {{"use", "part.yaml"}}); }, "part.yaml", "beta1",
                 "2:1");
  distill::TrainOptions options;
  expect_refused([&] { read_options_file(part, distill::describe(options)); }, "part.yaml", "beta1",
                 "2:1");
  core::write_text_file(part, "clip_norm: 2\n");
  expect_refused([&] { folder.parse("distill", {{"use", "part.yaml"}, {"clip_norm", "~"}}); },
                 "r.yaml", "clip_norm");
}

TEST(EmptyValue, IsNoItemOfAList) {
  const RecipeFolder folder;
  for (const char* list : {"[~]", "[q8_0, ]", "[\"\"]"}) {
    const bool trailing = std::string(list) == "[q8_0, ]";  // YAML: a list of one
    const Keys keys{{"format", ""}, {"target_bytes", "1MB"}, {"candidates", list}};
    if (trailing)
      EXPECT_NO_THROW(folder.parse("quantize", keys));
    else
      EXPECT_THROW(folder.parse("quantize", keys), core::Error) << list;
  }
}

// A name that the folder of all stages would stand for.
TEST(EmptyValue, NamesThatManifestsNeedAreTaken) {
  const RecipeFolder folder;
  for (const char* name : {"teacher", "none", "text.train", "text.held_out", "cut"})
    EXPECT_THROW(folder.parse("prune", {{"name", name}}), core::Error) << name;
}

}  // namespace
}  // namespace espalier::recipe
