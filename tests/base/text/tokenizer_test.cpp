// SPDX-License-Identifier: Apache-2.0
// What a tokenizer promises besides its ids: padding, identity, streaming, BOS and EOS, long words,
// files that change.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/notes.h"
#include "support/growth.h"
#include "text/fixtures.h"

namespace espalier::text {
namespace {

TokenizerData fixture(const char* name) { return tokenizer_from_hf(fixture_directory(name)); }

TEST(Vocabulary, PaddingAddsUnusedTokensOnly) {
  const TokenizerData before = fixture("qwen2");
  TokenizerData padded = before;
  const auto n = static_cast<std::int64_t>(before.tokens.size()) + 37;
  pad_vocabulary(padded, n);
  EXPECT_EQ(static_cast<std::int64_t>(padded.tokens.size()), n);
  EXPECT_FALSE(same_vocabulary(before, padded));
  const std::string text = "It's [PAD700] 12 a";
  EXPECT_EQ(Tokenizer(padded).encode(text, true, true), Tokenizer(before).encode(text, true, true));
  const TokenizerData again = through_gguf(padded);
  EXPECT_TRUE(same_vocabulary(again, padded));
  // Written from scratch the padding is in the files; next to the original files it is not theirs
  // to say.
  EXPECT_TRUE(same_vocabulary(through_hf(again), padded));
  EXPECT_TRUE(same_vocabulary(through_hf(padded), before));
}

TEST(Vocabulary, IdentityNoticesEachPart) {
  const TokenizerData bpe = fixture("gpt-2"), spm = fixture("spm");
  EXPECT_TRUE(same_vocabulary(bpe, bpe));
  EXPECT_FALSE(same_vocabulary(bpe, spm));
  TokenizerData other = bpe;
  other.pre = "phi-2";  // another name of the same
  EXPECT_TRUE(same_vocabulary(bpe, other));
  other.pre = "smollm";
  EXPECT_FALSE(same_vocabulary(bpe, other));
  other = bpe;
  std::swap(other.merges[3], other.merges[4]);
  EXPECT_FALSE(same_vocabulary(bpe, other));
  EXPECT_FALSE(Tokenizer(bpe).same_vocabulary(Tokenizer(other)));
  other = bpe;
  std::swap(other.tokens[3], other.tokens[4]);
  EXPECT_FALSE(same_vocabulary(bpe, other));
  other = bpe;
  other.types[3] = TokenType::control;
  EXPECT_FALSE(same_vocabulary(bpe, other));
  EXPECT_FALSE(Tokenizer(bpe).same_vocabulary(Tokenizer(other)));
  EXPECT_FALSE(Tokenizer(bpe).same_vocabulary(Tokenizer(spm)));
  other = spm;
  other.scores[400] += 0.5f;
  EXPECT_FALSE(same_vocabulary(spm, other));
}

TEST(Vocabulary, WhatFilesCannotSayGoesBesideThem) {
  TokenizerData data = without_files(fixture("spm"));
  data.types[300] = TokenType::unused;
  data.scores[301] -= 0.25f;
  const support::TempDir directory;
  tokenizer_to_hf(data, directory.path());
  EXPECT_TRUE(std::filesystem::exists(directory.file("tokenizer_gguf.json")));
  EXPECT_TRUE(same_vocabulary(tokenizer_from_hf(directory.path()), data));
  tokenizer_to_hf(fixture("gpt-2"), directory.path());  // nothing of the former tokenizer stays
  EXPECT_FALSE(std::filesystem::exists(directory.file("tokenizer_gguf.json")));
  EXPECT_FALSE(std::filesystem::exists(directory.file("special_tokens_map.json")));
  EXPECT_TRUE(same_vocabulary(tokenizer_from_hf(directory.path()), fixture("gpt-2")));
}

TEST(Vocabulary, ChangedDataAreWrittenNotTheOldFiles) {
  TokenizerData data = fixture("gpt-2");
  data.merges.pop_back();
  const TokenizerData again = through_hf(data);
  EXPECT_TRUE(same_vocabulary(again, data));
  EXPECT_NE(again.hf_tokenizer_json, data.hf_tokenizer_json);
}

TEST(ChatTemplate, ComesFromWhereverItIs) {
  const support::TempDir directory;
  const auto write = [&](const char* name, const std::string& text) {
    core::write_text_file(directory.file(name), text);
  };
  write("tokenizer.json", core::read_text_file(fixture_directory("gpt-2") + "/tokenizer.json"));
  EXPECT_EQ(tokenizer_from_hf(directory.path()).chat_template, "");
  write(
      "tokenizer_config.json",
      R"({"chat_template": [{"name": "tool", "template": "T"}, {"name": "default", "template": "D"}]})");
  EXPECT_EQ(tokenizer_from_hf(directory.path()).chat_template, "D");
  write("chat_template.jinja", "J {{ messages }}\n");
  const TokenizerData data = tokenizer_from_hf(directory.path());
  EXPECT_EQ(data.chat_template, "J {{ messages }}\n");
  EXPECT_EQ(through_hf(data).chat_template, data.chat_template);
  EXPECT_EQ(through_hf(without_files(data)).chat_template, data.chat_template);
  EXPECT_EQ(through_gguf(data).chat_template, data.chat_template);
}

TEST(Flags, BosAndEosSurroundTheText) {
  TokenizerData data = fixture("spm");
  data.add_eos = true;
  const Tokenizer tokenizer(data);
  const auto ids = tokenizer.encode("a", true), bare = tokenizer.encode("a", false);
  ASSERT_EQ(ids.size(), bare.size() + 2);
  EXPECT_EQ(ids.front(), *data.bos);
  EXPECT_EQ(ids.back(), *data.eos);
  EXPECT_EQ(tokenizer.encode("", true), (std::vector<std::int32_t>{*data.bos, *data.eos}));
  const TokenizerData again = through_hf(without_files(data));
  EXPECT_TRUE(again.add_bos && again.add_eos);
  EXPECT_EQ(Tokenizer(through_gguf(data)).encode("a", true), ids);
}

// The post-processor of tokenizer.json outranks the flags of tokenizer_config.json, and a flag that
// says otherwise is told.
TEST(Flags, PostProcessorOutranksConfiguration) {
  nlohmann::json json =
      nlohmann::json::parse(core::read_text_file(fixture_directory("spm") + "/tokenizer.json"));
  int told = 0;
  for (const bool adds : {true, false}) {
    if (!adds) json["post_processor"] = nullptr;
    for (const char* flag : {"null", "true", "false"}) {
      const support::TempDir directory;
      core::write_text_file(directory.file("tokenizer.json"), json.dump());
      core::write_text_file(
          directory.file("tokenizer_config.json"),
          std::string(R"({"bos_token": "<s>", "add_bos_token": )").append(flag).append("}"));
      EXPECT_EQ(tokenizer_from_hf(directory.path()).add_bos, adds) << flag;
      for (const std::string& note : core::notes())
        told += note.find(directory.path()) != std::string::npos ? 1 : 0;
    }
  }
  EXPECT_EQ(told, 2);
}

// transformers would give it an id behind the vocabulary, which no text needs.
TEST(Flags, APaddingTokenThatTheVocabularyLacksIsLeftOut) {
  const support::TempDir directory;
  core::write_text_file(directory.file("tokenizer.json"),
                        core::read_text_file(fixture_directory("spm") + "/tokenizer.json"));
  const TokenizerData plain = tokenizer_from_hf(directory.path());
  core::write_text_file(
      directory.file("tokenizer_config.json"),
      R"({"pad_token": "[PAD]", "added_tokens_decoder": {"9999": {"content": "[PAD]", "special": true}}})");
  const TokenizerData data = tokenizer_from_hf(directory.path());
  EXPECT_FALSE(data.pad);
  EXPECT_EQ(data.tokens, plain.tokens);
  const std::vector<std::string> notes = core::notes();
  EXPECT_TRUE(std::any_of(notes.begin(), notes.end(), [&](const std::string& note) {
    return note.find(directory.path()) != std::string::npos &&
           note.find("'[PAD]'") != std::string::npos;
  }));
}

TEST(Streaming, PiecesJoinToTheText) {
  for (const char* name : {"llama-bpe", "spm"}) {
    const Tokenizer tokenizer(fixture(name));
    const std::string text = "hi \xF0\x9F\xA6\x99 you";  // the emoji takes several tokens
    std::string streamed;
    bool split_code_point = false;
    for (const std::int32_t id : tokenizer.encode(text, false)) {
      const std::string piece = tokenizer.piece(id);
      split_code_point |=
          piece.size() < 4 && !piece.empty() && static_cast<unsigned char>(piece[0]) >= 0x80;
      streamed += piece;
    }
    EXPECT_TRUE(split_code_point) << name;
    EXPECT_EQ(streamed, (tokenizer.settings().kind == TokenizerKind::spm ? " " : "") + text)
        << name;
    EXPECT_EQ(tokenizer.decode(tokenizer.encode(text, false)), text) << name;
  }
}

TEST(Streaming, DecodeOfHalfACodePointIsValidText) {
  const Tokenizer tokenizer(fixture("spm"));
  const auto ids = tokenizer.encode("\xF0\x9F\xA6\x99", false);
  ASSERT_GE(ids.size(), 4u);
  EXPECT_EQ(tokenizer.decode({ids.end() - 4, ids.end() - 1}), "\xEF\xBF\xBD");
}

TEST(Special, AreTextUnlessAskedFor) {
  const Tokenizer tokenizer(fixture("qwen2"));
  const std::string text = "a<|im_end|>b";
  const auto parsed = tokenizer.encode(text, false, true),
             plain = tokenizer.encode(text, false, false);
  EXPECT_EQ(parsed.size(), 3u);
  EXPECT_GT(plain.size(), 3u);
  EXPECT_EQ(tokenizer.decode(parsed), text);
  EXPECT_EQ(tokenizer.decode(plain), text);
  EXPECT_EQ(tokenizer.decode(parsed, true), "ab");
}

TEST(Speed, OneLongWord) {
  for (const std::string& name : fixture_names()) {
    const Tokenizer tokenizer(fixture(name.c_str()));
    for (const char letter : {'a', ' ', '<', '\n'}) {
      std::vector<std::int32_t> ids;
      const auto encode = [&](const std::string& text) {
        ids = tokenizer.encode(text, false, true);
      };
      EXPECT_LT(support::growth(encode, std::string(1 << 13, letter), std::string(1 << 16, letter)),
                support::kLinear)
          << name << ", '" << letter << "'";
      EXPECT_TRUE(!ids.empty() || name == "smollm");  // which has no token for '<'
    }
  }
}

}  // namespace
}  // namespace espalier::text
