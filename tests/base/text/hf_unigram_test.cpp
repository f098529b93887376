// SPDX-License-Identifier: Apache-2.0
// tokenizer.json of unigram models: the three ways to treat spaces pass through files, and what is
// broken or not known is refused by its place. tests/conformance/vocabulary_test.py compares ids
// with those of transformers.
#include "text/hf_unigram.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

#include "core/error.h"
#include "text/base64.h"
#include "text/fixtures.h"

namespace espalier::text {
namespace {

using Edit = std::function<void(nlohmann::json&)>;

TokenizerData unigram(SpaceRule rule = SpaceRule::every_segment, bool prefix = true) {
  TokenizerData data = without_files(tokenizer_from_hf(fixture_directory("model-unigram")));
  data.space_rule = rule;
  data.add_space_prefix = prefix;
  data.remove_extra_spaces = rule != SpaceRule::every_segment;
  return data;
}

TEST(UnigramJson, EveryRuleTravels) {
  using enum SpaceRule;
  std::vector<std::vector<std::int32_t>> seen;
  for (const SpaceRule rule : {every_segment, metaspace_first, metaspace_always})
    for (const bool prefix : {true, false}) {
      const TokenizerData data = unigram(rule, prefix);
      const std::string text = "the\tseat  \xE2\x96\x81x \n";
      seen.push_back(Tokenizer(data).encode(text, false));
      for (const TokenizerData& passed : {through_hf(data), through_hf(through_gguf(data))}) {
        EXPECT_FALSE(passed.hf_tokenizer_json.empty());
        EXPECT_TRUE(same_vocabulary(passed, data));
        EXPECT_EQ(passed.space_rule, rule);
        EXPECT_EQ(passed.add_space_prefix, prefix);
        EXPECT_EQ(passed.remove_extra_spaces, data.remove_extra_spaces);
        EXPECT_EQ(Tokenizer(passed).encode(text, false), seen.back());
      }
    }
  std::sort(seen.begin(), seen.end());
  EXPECT_EQ(std::unique(seen.begin(), seen.end()), seen.end());  // no rule is another
}

// What is written is no tokenizer.json where that could not say the same.
TEST(UnigramJson, OtherPiecesTakeATokenizerModel) {
  EXPECT_TRUE(has_unigram_json(unigram()));
  EXPECT_FALSE(has_unigram_json(tokenizer_from_hf(fixture_directory("model-nmt"))));
  TokenizerData padded = unigram();
  pad_vocabulary(padded, static_cast<std::int64_t>(padded.tokens.size()) + 3);
  EXPECT_TRUE(has_unigram_json(padded));
  padded.tokens.emplace_back("zzz");
  padded.types.push_back(TokenType::normal);
  padded.scores.push_back(-9.0f);
  EXPECT_FALSE(has_unigram_json(padded));
}

// A score below those of normal pieces would change the price of an unknown character in other
// readers. The data keep it.
TEST(UnigramJson, SpecialTokensDoNotSetThePriceOfTheUnknown) {
  TokenizerData data = unigram();
  const auto control = static_cast<std::size_t>(*data.bos);
  data.scores[control] = -1000.0f;
  const TokenizerData passed = through_hf(data);
  EXPECT_EQ(passed.scores, data.scores);
  const auto json = nlohmann::json::parse(passed.hf_tokenizer_json);
  EXPECT_GT(json["model"]["vocab"][control][1].get<double>(), -100.0);
}

// The refusal of a changed file.
std::string refusal(const TokenizerData& data, const Edit& edit) {
  HfFiles files = build_hf(data);
  auto json = nlohmann::json::parse(files.tokenizer_json);
  edit(json);
  files.tokenizer_json = json.dump();
  try {
    parse_hf(files);
  } catch (const core::Error& error) {
    return error.what();
  }
  return "accepted";
}

TEST(UnigramJson, WhatIsBrokenIsRefused) {
  using Json = nlohmann::json;
  const std::string space = "\xE2\x96\x81";
  struct Case {
    SpaceRule rule;
    Edit edit;
    const char* part;  // of the message
  };
  using enum SpaceRule;
  const Case cases[] = {
      {every_segment, [](Json& j) { j["model"]["vocab"][5] = "x"; }, "model.vocab[5]"},
      {every_segment, [](Json& j) { j["model"]["vocab"][5][1] = "x"; }, "model.vocab[5]"},
      {every_segment, [](Json& j) { j["model"]["vocab"][5][0] = ""; }, "model.vocab[5]"},
      {every_segment, [](Json& j) { j["model"]["vocab"] = Json::object(); }, "model.vocab"},
      {every_segment, [](Json& j) { j["model"]["unk_id"] = 100000; }, "model.unk_id is 100000"},
      {every_segment, [](Json& j) { j["model"]["unk_id"] = nullptr; }, "model.unk_id"},
      {every_segment, [](Json& j) { j["model"]["vocab"][5] = j["model"]["vocab"][400]; },
       "are the same"},
      {every_segment, [](Json& j) { j["normalizer"] = nullptr; }, "replaces spaces"},
      {every_segment, [](Json& j) { j["normalizer"] = {{"type", "Lowercase"}}; }, "Lowercase"},
      {every_segment, [](Json& j) { j["added_tokens"][0]["normalized"] = true; },
       "added_tokens[0]"},
      {every_segment,
       [](Json& j) { j["normalizer"] = {{"type", "Precompiled"}, {"precompiled_charsmap", "a!"}}; },
       "no base64"},
      {metaspace_first, [](Json& j) { j["pre_tokenizer"]["prepend_scheme"] = "first"; }, "'first'"},
      {metaspace_first, [](Json& j) { j["pre_tokenizer"]["replacement"] = "_"; }, "U+2581"},
      {metaspace_first, [](Json& j) { j["normalizer"] = nullptr; }, "Strip (right)"},
      {metaspace_always,
       [&](Json& j) {
         j["pre_tokenizer"]["pretokenizers"][1]["split"] = true;
         j["model"]["vocab"][400][0] = "a" + space + "b";
       },
       "model.vocab[400]"},
      {metaspace_always,
       [](Json& j) { j["pre_tokenizer"]["pretokenizers"].push_back({{"type", "Digits"}}); },
       "Digits"},
  };
  for (const Case& c : cases) {
    ASSERT_EQ(refusal(unigram(c.rule), [](Json&) {}), "accepted");
    EXPECT_NE(refusal(unigram(c.rule), c.edit).find(c.part), std::string::npos)
        << c.part << ": " << refusal(unigram(c.rule), c.edit);
  }
}

TEST(Base64, IsReadAndWritten) {
  const std::pair<std::string, const char*> known[] = {{"", ""},
                                                       {"f", "Zg=="},
                                                       {"fo", "Zm8="},
                                                       {"foo", "Zm9v"},
                                                       {std::string("\0\xFF\xFE", 3), "AP/+"}};
  for (const auto& [bytes, text] : known) {
    EXPECT_EQ(encode_base64(bytes), text);
    EXPECT_EQ(decode_base64(text), bytes);
  }
  for (const char* broken : {"Zg=", "Zg", "Z!==", "Zg==Zg=="}) EXPECT_FALSE(decode_base64(broken));
}

}  // namespace
}  // namespace espalier::text
