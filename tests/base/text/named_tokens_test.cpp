// SPDX-License-Identifier: Apache-2.0
// Special tokens that only the small files beside tokenizer.json name. transformers searches for
// them in a text like those that tokenizer.json lists, with the flags of their entries.
#include <gtest/gtest.h>

#include "core/error.h"
#include "core/notes.h"
#include "text/fixtures.h"

namespace espalier::text {
namespace {

using Json = nlohmann::json;

// The fixture, in which tokenizer.json lists no added tokens and has all of them as ordinary ones.
Json with_ordinary_tokens(const std::string& fixture) {
  Json json = read_json(fixture_directory(fixture) + "/tokenizer.json");
  for (const Json& token : json["added_tokens"])
    json["model"]["vocab"][token["content"].get<std::string>()] = token["id"];
  json["added_tokens"] = Json::array();
  return json;
}

class Named {
 public:
  explicit Named(const Json& tokenizer) {
    core::write_text_file(dir_.file("tokenizer.json"), tokenizer.dump());
  }
  TokenizerData read(const Json& config, const Json& map = Json::object(),
                     const std::string& added = "") const {
    core::write_text_file(dir_.file("tokenizer_config.json"), config.dump());
    core::write_text_file(dir_.file("special_tokens_map.json"), map.dump());
    if (!added.empty()) core::write_text_file(dir_.file("added_tokens.json"), added);
    return tokenizer_from_hf(dir_.path());
  }

 private:
  support::TempDir dir_;
};

TEST(NamedTokens, AreFoundInATextWhereverTheyAreNamed) {
  const Named named(with_ordinary_tokens("gpt-2"));
  const std::string text = "one<|im_end|>two<|im_start|>";
  const auto count = [&](const TokenizerData& data, std::int32_t id) {
    const std::vector<std::int32_t> ids = Tokenizer(data).encode(text, true, true);
    return std::count(ids.begin(), ids.end(), id);
  };
  EXPECT_EQ(count(named.read(Json::object()), 602), 0) << "letters, for nothing names it";
  for (const Json& config :
       {Json::parse(R"({"eos_token": "<|im_end|>"})"),
        Json::parse(R"({"mask_token": {"content": "<|im_end|>"}})"),
        Json::parse(R"({"additional_special_tokens": ["<|im_end|>"]})"),
        Json::parse(R"({"extra_special_tokens": {"end_token": "<|im_end|>"}})"),
        Json{
            {"added_tokens_decoder", {{"602", {{"content", "<|im_end|>"}, {"special", true}}}}}}}) {
    const TokenizerData data = named.read(config);
    EXPECT_EQ(count(data, 602), 1) << config;
    EXPECT_EQ(count(data, 601), 0) << config;
    EXPECT_EQ(data.types.at(602), TokenType::control) << config;
    EXPECT_TRUE(same_vocabulary(through_gguf(data), data));
  }
  EXPECT_EQ(count(named.read(Json::object(), Json::object({{"pad_token", "<|im_start|>"}})), 601),
            1);
  EXPECT_EQ(count(named.read(Json::object(), Json::object(), R"({"<|im_end|>": 602})"), 602), 1);
}

TEST(NamedTokens, HaveTheFlagsOfTheirEntries) {
  const Json left{{"content", "<|left|>"}, {"lstrip", true}, {"rstrip", false}};
  const std::string text = "one  <|left|> two";
  const auto ids = [&](const TokenizerData& data) {
    return Tokenizer(data).encode(text, true, true);
  };
  const Named listed(read_json(fixture_directory("gpt-2") + "/tokenizer.json"));
  const Named ordinary(with_ordinary_tokens("gpt-2"));
  const std::vector<std::int32_t> want = ids(listed.read(Json::object()));
  EXPECT_EQ(ids(ordinary.read(Json::object({{"cls_token", left}}))), want);
  EXPECT_NE(ids(ordinary.read(Json::object({{"cls_token", "<|left|>"}}))), want);
  // Those of tokenizer.json count where it lists the token.
  EXPECT_EQ(ids(listed.read(Json::object({{"cls_token", "<|left|>"}}))), want);
}

TEST(NamedTokens, ThatNoVocabularyHasAreLeftOutAndSaid) {
  const Named named(read_json(fixture_directory("gpt-2") + "/tokenizer.json"));
  const auto before = core::notes().size();
  const TokenizerData data = named.read(
      {{"unk_token", "<unknown>"}, {"additional_special_tokens", {"<|one|>", "<|im_end|>"}}},
      Json::object(), R"({"<|two|>": 700})");
  EXPECT_EQ(data.tokens.size(), 608u);
  EXPECT_FALSE(data.unk);
  const std::vector<std::string> notes = core::notes();
  ASSERT_EQ(notes.size(), before + 1);
  for (const char* token : {"'<unknown>'", "'<|one|>'", "'<|two|>'"})
    EXPECT_NE(notes.back().find(token), std::string::npos) << notes.back();
  EXPECT_EQ(notes.back().find("im_end"), std::string::npos) << notes.back();
  EXPECT_THROW(named.read(Json::object({{"eos_token", "<none>"}})), core::Error);
}

TEST(NamedTokens, ASpaceInFrontIsRefusedWhereTheClassAddsIt) {
  const Named named(read_json(fixture_directory("gpt-2") + "/tokenizer.json"));
  const auto config = [](const char* name) {
    return Json{{"tokenizer_class", name}, {"add_prefix_space", true}};
  };
  for (const char* name : {"PreTrainedTokenizerFast", "LlamaTokenizer"})
    EXPECT_EQ(named.read(config(name)).tokens.size(), 608u);
  EXPECT_THROW(named.read(config("GPT2TokenizerFast")), core::Error);
  EXPECT_EQ(named.read({{"tokenizer_class", "GPT2Tokenizer"}, {"add_prefix_space", false}}).pre,
            "gpt-2");
}

TEST(NamedTokens, MinusOneInAGgufIsNone) {
  const TokenizerData data = Named(read_json(fixture_directory("gpt-2") + "/tokenizer.json"))
                                 .read(Json::object({{"eos_token", "<|im_end|>"}}));
  const support::TempDir dir;
  for (const format::GgufValue& id :
       {format::GgufValue::u32(0xFFFFFFFF), format::GgufValue::i32(-1)}) {
    const std::string path = dir.file("ids.gguf");
    format::GgufWriter writer(path);
    tokenizer_to_gguf(data, writer);
    for (const char* key : {"padding", "eos", "eot", "seperator"})
      writer.set(std::string("tokenizer.ggml.") + key + "_token_id", id);
    writer.begin();
    writer.finish();
    const TokenizerData read =
        tokenizer_from_gguf(format::GgufHeader::read(core::FileReader(path)));
    EXPECT_FALSE(read.eos);
    EXPECT_FALSE(read.pad);
  }
}

}  // namespace
}  // namespace espalier::text
