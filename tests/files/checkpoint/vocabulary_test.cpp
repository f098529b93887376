// SPDX-License-Identifier: Apache-2.0
// Cutting the vocabulary: kept text encodes as before under the new numbers; what encoding needs is
// refused by name.
#include "checkpoint/vocabulary.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/file.h"
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

// The specials at the end, as in GPT-2.
text::TokenizerData specials_behind() {
  text::TokenizerData data = support::tiny_tokenizer(320);
  std::rotate(data.tokens.begin(), data.tokens.begin() + 3, data.tokens.end());
  std::rotate(data.types.begin(), data.types.begin() + 3, data.types.end());
  data.unk = data.pad = 317;
  data.bos = 318;
  data.eos = 319;
  return data;
}

TEST(Vocabulary, SpecialIdsMove) {
  const text::TokenizerData data = specials_behind();
  const Indices keep = all_but(320, {260, 300});
  const text::TokenizerData cut = cut_tokenizer(data, keep);
  EXPECT_EQ(cut.bos, 316);
  EXPECT_EQ(cut.tokens.at(316), "<|im_start|>");
  const auto json = nlohmann::json::parse(remap_token_ids(
      R"({"bos_token_id": 318, "eos_token_id": [319, 5], "pad_token_id": null, "top_k": 260})",
      keep, 320, "config"));
  EXPECT_EQ(
      json,
      nlohmann::json::parse(
          R"({"bos_token_id": 316, "eos_token_id": [317, 5], "pad_token_id": null, "top_k": 260})"));
  EXPECT_THROW(remap_token_ids(R"({"eos_token_id": 260})", keep, 320, "config"), core::Error);
  EXPECT_THROW(remap_token_ids(R"({"eos_token_id": ["x"]})", keep, 320, "config"), core::Error);
  EXPECT_THROW(remap_token_ids("[", keep, 320, "config"), core::Error);
  EXPECT_THROW(
      remap_token_ids("{\"x\": " + std::string(100000, '[') + std::string(100000, ']') + "}", keep,
                      320, "config"),
      core::Error);
  EXPECT_EQ(remap_token_ids("", keep, 320, "config"), "");
}

// Lists, nested objects, ids that are only forbidden, and ids that no token has.
TEST(Vocabulary, IdsOfConfigsMove) {
  const Indices keep = all_but(320, {260, 300});
  const char* config =
      R"({"eos_token_id": [2, 310], "pad_token_id": 320, "sep_token_id": -1, "top_k": 300,
          "inner": {"image_token_id": 301}, "suppress_tokens": [1, 260, 310],
          "begin_suppress_tokens": [300], "bad_words_ids": [[1, 310], [310, 260]],
          "forced_decoder_ids": null})";
  EXPECT_EQ(token_ids_of(config, "config"), (Indices{2, 310, 320, 301}));
  EXPECT_EQ(nlohmann::json::parse(remap_token_ids(config, keep, 320, "config")),
            nlohmann::json::parse(
                R"({"eos_token_id": [2, 308], "pad_token_id": null, "sep_token_id": -1,
                    "top_k": 300, "inner": {"image_token_id": 299}, "suppress_tokens": [1, 308],
                    "begin_suppress_tokens": null, "bad_words_ids": [[1, 308]],
                    "forced_decoder_ids": null})"));
  EXPECT_THROW(remap_token_ids(R"({"forced_decoder_ids": [[1, 5]]})", keep, 320, "config"),
               core::Error);
  EXPECT_EQ(token_ids_of("", "config"), Indices{});
}

// What an added token does moves with it.
TEST(Vocabulary, RulesMove) {
  text::TokenizerData data = specials_behind();
  data.rules = {{.id = 319, .lstrip = true, .rstrip = true}};
  const text::TokenizerData cut = cut_tokenizer(data, all_but(320, {260, 300}));
  ASSERT_EQ(cut.rules.size(), 1u);
  EXPECT_EQ(cut.rules[0], (text::AddedRule{.id = 317, .lstrip = true, .rstrip = true}));
  EXPECT_EQ(text::Tokenizer(cut).encode("a  <|im_end|> b", false, true).at(1), 317);
}

// The files of a directory are rewritten: what they say besides the vocabulary stays.
TEST(Vocabulary, FilesOfADirectoryKeepTheirOtherKeys) {
  const support::TempDir dir;
  text::tokenizer_to_hf(support::tiny_tokenizer(700), dir.path());
  auto config = nlohmann::json::parse(core::read_text_file(dir.file("tokenizer_config.json")));
  config["model_max_length"] = 2048;
  config["added_tokens_decoder"]["2"]["content"] = "<|im_end|>";
  core::write_text_file(dir.file("tokenizer_config.json"), config.dump());
  auto json = nlohmann::json::parse(core::read_text_file(dir.file("tokenizer.json")));
  json["post_processor"] = {
      {"type", "TemplateProcessing"},
      {"single",
       {{{"SpecialToken", {{"id", "<|im_start|>"}, {"type_id", 0}}}},
        {{"Sequence", {{"id", "A"}, {"type_id", 0}}}}}},
      {"pair", {{{"Sequence", {{"id", "A"}, {"type_id", 0}}}}}},
      {"special_tokens",
       {{"<|im_start|>", {{"id", "<|im_start|>"}, {"ids", {1}}, {"tokens", {"<|im_start|>"}}}}}}};
  json["truncation"] = {{"max_length", 7}};
  core::write_text_file(dir.file("tokenizer.json"), json.dump());
  // The specials behind an ordinary token, so that their ids change.
  const text::TokenizerData data = text::tokenizer_from_hf(dir.path());
  const Indices keep = all_but(700, {id_of(data, "ae"), 698, 699});
  const support::TempDir out;
  text::tokenizer_to_hf(cut_tokenizer(data, keep), out.path());
  const auto written = nlohmann::json::parse(core::read_text_file(out.file("tokenizer.json")));
  EXPECT_EQ(written.at("truncation").at("max_length"), 7);
  EXPECT_EQ(written.at("model").at("vocab").size(), 697u);
  EXPECT_EQ(written.at("post_processor").at("special_tokens").at("<|im_start|>").at("ids")[0], 1);
  const auto settings =
      nlohmann::json::parse(core::read_text_file(out.file("tokenizer_config.json")));
  EXPECT_EQ(settings.at("model_max_length"), 2048);
  EXPECT_EQ(settings.at("added_tokens_decoder").size(), 3u);
}

TEST(Vocabulary, ACutOfACutIsOneCut) {
  const text::TokenizerData data = support::tiny_tokenizer(700);
  const Indices first = all_but(700, {600, 650, 651}), second = all_but(697, {500, 690});
  Indices both;
  for (const std::int64_t place : second) both.push_back(first[static_cast<std::size_t>(place)]);
  const text::TokenizerData once = cut_tokenizer(data, both),
                            twice = cut_tokenizer(cut_tokenizer(data, first), second);
  EXPECT_TRUE(text::same_vocabulary(once, twice));
  EXPECT_EQ(ids_of_part(data, twice), both);
  EXPECT_EQ(ids_of_part(twice, data), std::nullopt);  // it is not the smaller one
  text::TokenizerData other = twice;
  std::swap(other.tokens[400], other.tokens[401]);
  EXPECT_EQ(ids_of_part(data, other), std::nullopt);
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
