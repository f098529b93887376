// SPDX-License-Identifier: Apache-2.0
// What a model's files say about it, in a GGUF and in a directory, and what goes along.
#include "checkpoint/description.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/file.h"
#include "support/temp_dir.h"

namespace espalier::checkpoint {
namespace {

using format::GgufValue;

std::string text_of(const Description& d, std::string_view key) {
  const GgufValue* value = find(d, key);
  const auto* text = value != nullptr ? std::get_if<std::string>(&value->value) : nullptr;
  return text != nullptr ? *text : "";
}

format::GgufHeader header_with(const support::TempDir& dir,
                               const std::function<void(format::GgufWriter&)>& set) {
  format::GgufWriter writer(dir.file("x.gguf"));
  writer.set("general.architecture", GgufValue::string("llama"));
  set(writer);
  writer.begin();
  writer.finish();
  return format::GgufHeader::read(core::FileReader(dir.file("x.gguf")));
}

TEST(Description, KeepsWhatIsNotMadeAnew) {
  const support::TempDir dir;
  const auto header = header_with(dir, [](format::GgufWriter& w) {
    for (const char* key :
         {"general.license", "general.name", "other.tool", "espalier.lineage.teacher.sha256",
          "general.type", "general.file_type", "llama.x", "split.no", "espalier.mix",
          "tokenizer.ggml.model", "tokenizer.chat_template"})
      w.set(key, GgufValue::string("v"));
    w.set("tokenizer.ggml.eot_token_id", GgufValue::u32(3));
    w.set("tokenizer.ggml.eos_token_id", GgufValue::u32(3));
  });
  std::vector<std::string> keys;
  for (const auto& [key, value] : description_of(header)) keys.push_back(key);
  EXPECT_EQ(keys, (std::vector<std::string>{"general.license", "general.name", "other.tool",
                                            "espalier.lineage.teacher.sha256",
                                            "tokenizer.ggml.eot_token_id"}));
}

TEST(Description, ADirectoryHoldsIt) {
  const support::TempDir dir;
  const Description before{
      {"general.name", GgufValue::string("A model: \"quoted\"")},
      {"general.author", GgufValue::string("A. Author # no comment")},
      {"general.license", GgufValue::string("mit")},
      {"general.license.link", GgufValue::string("https://example.org/x")},
      {"general.tags", GgufValue::strings({"text-generation", "no", "a, b"})},
      {"general.base_model.count", GgufValue::u32(2)},
      {"general.base_model.0.name", GgufValue::string("Base")},
      {"general.base_model.1.name", GgufValue::string("Other")},
      {"general.base_model.1.organization", GgufValue::string("Org")},
      {"general.base_model.1.repo_url", GgufValue::string("https://huggingface.co/Org/Other")}};
  core::write_text_file(dir.file("README.md"), model_card(before));
  EXPECT_TRUE(is_our_card(dir.file("README.md")));
  const Description after = description_of(dir.path() + "/", nlohmann::json::object());
  EXPECT_EQ(after.size(), before.size());
  for (const auto& [key, value] : before) {
    ASSERT_NE(find(after, key), nullptr) << key;
    EXPECT_EQ(text_of(after, key), text_of(before, key)) << key;
  }
  EXPECT_EQ(model_card(after), model_card(before));
  EXPECT_EQ(model_card({}), "");
}

TEST(Description, PublishedCardsAreRead) {
  const support::TempDir dir;
  core::write_text_file(dir.file("README.md"),
                        "---\nlicense: apache-2.0  # free\nlanguage:\n- en\n- 'no'\n"
                        "base_model: org/Base-7B\ntags: [chat, \"a, b\"]\nauthor: null\n"
                        "description: >\n  two\n  lines\nmodel-index:\n- name: x\n  results: []\n"
                        "widget:\n  - text: \"license: gpl\"\n---\nlicense: none\n");
  const Description d = description_of(dir.path() + "/", nlohmann::json::parse(R"({
      "temperature": 0.7, "top_k": 20, "repetition_penalty": 1.1, "do_sample": true,
      "eos_token_id": 2})"));
  EXPECT_EQ(text_of(d, "general.license"), "apache-2.0");
  EXPECT_EQ(text_of(d, "general.description"), "two lines");
  EXPECT_EQ(find(d, "general.author"), nullptr);
  EXPECT_EQ(text_of(d, "general.base_model.0.name"), "Base-7B");
  EXPECT_EQ(text_of(d, "general.base_model.0.organization"), "org");
  const auto list = [&](const char* key) {
    return std::get<std::shared_ptr<const format::GgufArray>>(find(d, key)->value)->strings;
  };
  EXPECT_EQ(list("general.languages"), (std::vector<std::string>{"en", "no"}));
  EXPECT_EQ(list("general.tags"), (std::vector<std::string>{"chat", "a, b"}));
  EXPECT_EQ(std::get<double>(find(d, "general.sampling.temp")->value), 0.7f);
  EXPECT_EQ(std::get<std::int64_t>(find(d, "general.sampling.top_k")->value), 20);
  EXPECT_FALSE(is_our_card(dir.file("README.md")));
  core::write_text_file(dir.file("README.md"), "# A model\nlicense: mit\n");
  const auto greedy = nlohmann::json::parse(R"({"temperature": 1, "do_sample": false})");
  EXPECT_TRUE(description_of(dir.path() + "/", greedy).empty());
}

TEST(Description, AChangedModelNamesItsParent) {
  EXPECT_TRUE(derived({}, "").empty());
  EXPECT_EQ(text_of(derived({}, "parent"), "general.base_model.0.name"), "parent");
  const Description source{{"general.license", GgufValue::string("mit")},
                           {"general.name", GgufValue::string("Parent")},
                           {"general.size_label", GgufValue::string("7B")},
                           {"general.base_model.count", GgufValue::u32(1)},
                           {"general.base_model.0.name", GgufValue::string("Grandparent")}};
  const Description child = derived(source, "Parent");
  EXPECT_EQ(text_of(child, "general.license"), "mit");
  EXPECT_EQ(text_of(child, "general.base_model.0.name"), "Parent");
  EXPECT_EQ(text_of(child, "general.base_model.1.name"), "Grandparent");
  EXPECT_EQ(std::get<std::uint64_t>(find(child, "general.base_model.count")->value), 2u);
  EXPECT_EQ(find(child, "general.size_label"), nullptr);
  EXPECT_EQ(find(child, "general.name"), nullptr);
  // A step between two models has no name.
  EXPECT_EQ(text_of(derived(child, ""), "general.base_model.0.name"), "Parent");
  EXPECT_EQ(std::get<std::uint64_t>(find(derived(child, ""), "general.base_model.count")->value),
            2u);
}

TEST(Description, SamplingDefaultsBecomeAGenerationConfig) {
  const support::TempDir dir;
  const auto header = header_with(dir, [](format::GgufWriter& w) {
    w.set("general.sampling.temp", GgufValue::f32(0.7f));
    w.set("general.sampling.top_k", GgufValue::i32(20));
    w.set("tokenizer.ggml.eos_token_id", GgufValue::u32(5));
  });
  EXPECT_EQ(generation_config_of(description_of(header), header),
            "{\n  \"temperature\": 0.7,\n  \"top_k\": 20,\n  \"do_sample\": true,\n  "
            "\"eos_token_id\": 5\n}\n");
  EXPECT_EQ(generation_config_of({}, header), "");
  // What ends a turn ends a text of transformers, too.
  const auto turns = header_with(dir, [](format::GgufWriter& w) {
    w.set("tokenizer.ggml.eos_token_id", GgufValue::u32(5));
    w.set("tokenizer.ggml.eot_token_id", GgufValue::u32(5));
    w.set("tokenizer.ggml.eom_token_id", GgufValue::u32(7));
  });
  EXPECT_EQ(generation_config_of({}, turns), "{\n  \"eos_token_id\": [\n    5,\n    7\n  ]\n}\n");
}

TEST(ModelName, IsOfTheFolderOrItsRepository) {
  const support::TempDir dir;
  namespace fs = std::filesystem;
  const std::string snapshot = dir.file("models--org--Some-Model/snapshots/0123abcd");
  fs::create_directories(snapshot);
  fs::create_directories(dir.file("plain"));
  EXPECT_EQ(model_name(snapshot), "Some-Model");
  EXPECT_EQ(model_name(snapshot + "/"), "Some-Model");
  EXPECT_EQ(model_name(dir.file("plain/.")), "plain");
  EXPECT_EQ(model_name(dir.file("plain/../plain/")), "plain");
  EXPECT_EQ(model_name("x/m.gguf"), "m");
  std::filesystem::create_directories(dir.file("out/stages/student/model"));
  EXPECT_EQ(model_name(dir.file("out/stages/student/model")), "student");
  EXPECT_EQ(model_name("x/m-00001-of-00002.gguf"), "m");
  const fs::path before = fs::current_path();
  fs::current_path(dir.file("plain"));
  EXPECT_EQ(model_name("."), "plain");
  EXPECT_EQ(model_name("./"), "plain");
  fs::current_path(before);
}

}  // namespace
}  // namespace espalier::checkpoint
