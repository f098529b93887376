// SPDX-License-Identifier: Apache-2.0
// Cutting the vocabulary: kept text encodes as before under the new numbers; what encoding needs is
// refused by name.
#include "checkpoint/vocabulary.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "support/temp_dir.h"
#include "support/tiny_model.h"

namespace espalier::checkpoint {
namespace {

using Indices = std::vector<std::int64_t>;

Indices all_but(std::int64_t size, const Indices& cut) {
  Indices out;
  for (std::int64_t i = 0; i < size; ++i)
    if (std::find(cut.begin(), cut.end(), i) == cut.end()) out.push_back(i);
  return out;
}
std::int64_t id_of(const text::TokenizerData& data, const std::string& token) {
  const auto it = std::find(data.tokens.begin(), data.tokens.end(), token);
  EXPECT_NE(it, data.tokens.end()) << token;
  return it - data.tokens.begin();
}
std::string refusal(const text::TokenizerData& data, const Indices& keep) {
  try {
    cut_tokenizer(data, keep);
  } catch (const core::Error& error) {
    EXPECT_EQ(error.kind(), core::ErrorKind::input);
    return error.what();
  }
  return "accepted";
}

// Every piece decodes to the same text, and an encoding that uses kept tokens only is the same
// under the new numbers.
void expect_coherent(const text::TokenizerData& before, const text::TokenizerData& after,
                     const Indices& keep) {
  const text::Tokenizer a(before), b(after);
  std::int64_t same = 0;
  for (const char* text : {"the seat is set on the tin", "aeon <|im_end|> caf\xc3\xa9 \xe4\xbd\xa0",
                           "  x\n", "treats, tests and toasts"}) {
    const std::vector<std::int32_t> ids = b.encode(text, false, true);
    EXPECT_EQ(b.decode(ids), a.decode(a.encode(text, false, true))) << text;
    std::vector<std::int32_t> mapped;
    bool all_kept = true;
    for (const std::int32_t id : a.encode(text, false, true)) {
      const auto it = std::lower_bound(keep.begin(), keep.end(), id);
      all_kept = all_kept && it != keep.end() && *it == id;
      mapped.push_back(static_cast<std::int32_t>(it - keep.begin()));
    }
    if (!all_kept) continue;
    ++same;
    EXPECT_EQ(ids, mapped) << text;
  }
  EXPECT_GE(same, 1);
}

TEST(Vocabulary, BpeKeepsItsMeaning) {
  const text::TokenizerData data = support::tiny_tokenizer(700);
  const Indices keep = all_but(700, {id_of(data, "ae"), id_of(data, "ts"), 698, 699});
  const text::TokenizerData cut = cut_tokenizer(data, keep);
  EXPECT_EQ(cut.tokens.size(), 696u);
  EXPECT_EQ(cut.types.size(), 696u);
  EXPECT_EQ(cut.merges.size(), data.merges.size() - 4);
  EXPECT_EQ(cut.bos, 1);
  expect_coherent(data, cut, keep);
  // And through the files of a Hugging Face directory.
  const support::TempDir dir;
  text::tokenizer_to_hf(cut, dir.path());
  EXPECT_TRUE(text::same_vocabulary(text::tokenizer_from_hf(dir.path()), cut));
}

TEST(Vocabulary, SpecialIdsMove) {
  text::TokenizerData data = support::tiny_tokenizer(320);
  // The specials at the end, as in GPT-2.
  std::rotate(data.tokens.begin(), data.tokens.begin() + 3, data.tokens.end());
  std::rotate(data.types.begin(), data.types.begin() + 3, data.types.end());
  data.unk = data.pad = 317;
  data.bos = 318;
  data.eos = 319;
  const Indices keep = all_but(320, {260, 300});
  const text::TokenizerData cut = cut_tokenizer(data, keep);
  EXPECT_EQ(cut.bos, 316);
  EXPECT_EQ(cut.tokens.at(316), "<|im_start|>");
  const auto json = nlohmann::json::parse(remap_token_ids(
      R"({"bos_token_id": 318, "eos_token_id": [319, 5], "pad_token_id": null, "top_k": 260})",
      keep, "config"));
  EXPECT_EQ(
      json,
      nlohmann::json::parse(
          R"({"bos_token_id": 316, "eos_token_id": [317, 5], "pad_token_id": null, "top_k": 260})"));
  EXPECT_THROW(remap_token_ids(R"({"eos_token_id": 260})", keep, "config"), core::Error);
  EXPECT_THROW(remap_token_ids(R"({"eos_token_id": ["x"]})", keep, "config"), core::Error);
  EXPECT_THROW(remap_token_ids("[", keep, "config"), core::Error);
  EXPECT_THROW(
      remap_token_ids("{\"x\": " + std::string(100000, '[') + std::string(100000, ']') + "}", keep,
                      "config"),
      core::Error);
  EXPECT_EQ(remap_token_ids("", keep, "config"), "");
}

TEST(Vocabulary, RefusesToCutWhatEncodingNeeds) {
  const text::TokenizerData data = support::tiny_tokenizer(1200);  // with merges of merges
  EXPECT_NE(refusal(data, all_but(1200, {2})).find("<|im_end|>"), std::string::npos);
  EXPECT_NE(refusal(data, all_but(1200, {id_of(data, "a")})).find("byte"), std::string::npos);
  const std::int64_t longest = 1199;
  const std::string part = data.tokens[longest].substr(0, data.tokens[longest].size() - 1);
  EXPECT_NE(
      refusal(data, all_but(1200, {id_of(data, part)})).find("is merged from \"" + part + "\""),
      std::string::npos);
}

text::TokenizerData spm() {
  text::TokenizerData data;
  data.kind = text::TokenizerKind::spm;
  data.pre = "default";
  data.tokens = {"<unk>", "<s>", "</s>"};
  data.types = {text::TokenType::unknown, text::TokenType::control, text::TokenType::control};
  const char* digits = "0123456789ABCDEF";
  for (int b = 0; b < 256; ++b) {
    data.tokens.push_back(std::string("<0x") + digits[b / 16] + digits[b % 16] + ">");
    data.types.push_back(text::TokenType::byte);
  }
  for (const char* token : {"\xe2\x96\x81", "t", "h", "e", "th", "the", "\xe2\x96\x81the", "he"}) {
    data.tokens.push_back(token);
    data.types.push_back(text::TokenType::normal);
  }
  for (std::size_t i = 0; i < data.tokens.size(); ++i)
    data.scores.push_back(-static_cast<float>(i));
  data.bos = 1;
  data.eos = 2;
  data.unk = 0;
  return data;
}

TEST(Vocabulary, SpmKeepsItsMeaning) {
  const text::TokenizerData data = spm();
  const std::int64_t size = static_cast<std::int64_t>(data.tokens.size());
  const Indices keep = all_but(size, {size - 1});  // "he"
  const text::TokenizerData cut = cut_tokenizer(data, keep);
  EXPECT_EQ(cut.scores.size(), cut.tokens.size());
  EXPECT_EQ(text::Tokenizer(cut).decode(text::Tokenizer(cut).encode("the he \xe4\xbd\xa0")),
            text::Tokenizer(data).decode(text::Tokenizer(data).encode("the he \xe4\xbd\xa0")));
  EXPECT_NE(refusal(data, all_but(size, {3 + 65})).find("<0x41>"), std::string::npos);
  EXPECT_NE(refusal(data, all_but(size, {id_of(data, "th"), id_of(data, "he")})).find("\"the\""),
            std::string::npos);
  EXPECT_EQ(refusal(data, all_but(size, {id_of(data, "he")})),
            "accepted");  // "the" is still th + e
}

}  // namespace
}  // namespace espalier::checkpoint
