// SPDX-License-Identifier: Apache-2.0
// tokenizer.model files against the package `sentencepiece`, and what the files beside them add.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>

#include "core/error.h"
#include "text/fixtures.h"
#include "text/sentencepiece_model.h"
#include "text/vocabulary.h"

namespace espalier::text {
namespace {

constexpr std::size_t kTexts = 27;

std::string model_directory(const std::string& name) { return golden_path("text_model-" + name); }
std::string model_bytes(const std::string& name) {
  return core::read_text_file(model_directory(name) + "/tokenizer.model");
}

class Model : public testing::TestWithParam<std::string> {
 protected:
  TokenizerData data() const { return tokenizer_from_hf(model_directory(GetParam())); }
  // Texts whose ids or whose text from ids differ from sentencepiece's.
  std::vector<std::string> differences(const TokenizerData& data) const {
    const Tokenizer tokenizer(data);
    const nlohmann::json golden = read_json(model_directory(GetParam()) + "/golden.json");
    EXPECT_EQ(golden.at("ids").size(), kTexts);
    std::vector<std::string> out;
    for (const auto& [name, text] : stress_texts()) {
      const auto ids = golden.at("ids").at(name).get<std::vector<std::int32_t>>();
      if (tokenizer.encode(text, false, false) != ids) out.push_back(name + " (ids)");
      const std::string decoded = from_hex(golden.at("decoded").at(name).get<std::string>());
      const bool unknown = std::count(ids.begin(), ids.end(), tokenizer.settings().unk) >
                           0;  // shown as a mark there, as its name here
      if (!unknown && tokenizer.decode(ids) != decoded) out.push_back(name + " (text)");
    }
    return out;
  }
};
const std::vector<std::string> kNone;

TEST_P(Model, GivesSentencePiecesIds) { EXPECT_EQ(differences(data()), kNone); }

TEST_P(Model, SurvivesGguf) {
  const TokenizerData before = data(), after = through_gguf(before);
  EXPECT_TRUE(same_vocabulary(before, after));
  EXPECT_EQ(after.rules, before.rules);
  EXPECT_EQ(after.add_bos, before.add_bos);
  EXPECT_EQ(after.bos, before.bos);
  EXPECT_EQ(differences(after), kNone);
}

TEST_P(Model, SurvivesHuggingFaceFilesMadeFromScratch) {
  const TokenizerData before = data(), after = through_hf(without_files(before));
  // That of user-defined pieces of a unigram model is a tokenizer.model.
  EXPECT_EQ(after.hf_tokenizer_json.empty(), GetParam() == "nmt");
  EXPECT_TRUE(same_vocabulary(before, after));
  EXPECT_EQ(differences(after), kNone);
}

TEST_P(Model, FilesAreWrittenBackUnchanged) {
  const support::TempDir directory;
  core::write_text_file(directory.file("tokenizer.json"), "of another tokenizer");
  tokenizer_to_hf(data(), directory.path());
  EXPECT_FALSE(std::filesystem::exists(directory.file("tokenizer.json")));
  EXPECT_EQ(core::read_text_file(directory.file("tokenizer.model")), model_bytes(GetParam()));
  EXPECT_TRUE(hf_directory_has_tokenizer(directory.path()));
  EXPECT_TRUE(same_vocabulary(tokenizer_from_hf(directory.path()), data()));
}

TEST_P(Model, OtherRulesGiveOtherIds) {
  TokenizerData changed = data();
  changed.add_space_prefix = !changed.add_space_prefix;
  EXPECT_GT(differences(changed).size(), 10u);
  changed = data();
  for (float& score : changed.scores) score = -score;
  EXPECT_GT(differences(changed).size(), 5u);
}

INSTANTIATE_TEST_SUITE_P(Models, Model, testing::Values("llama", "gemma", "unigram", "nmt"));

TEST(SentencePieceModel, SettingsAreRead) {
  const SentencePieceModel llama = parse_sentencepiece(model_bytes("llama"), "llama"),
                           gemma = parse_sentencepiece(model_bytes("gemma"), "gemma");
  EXPECT_EQ(llama.model, PieceModel::bpe);
  EXPECT_TRUE(llama.add_dummy_prefix && llama.byte_fallback && llama.escape_whitespaces);
  EXPECT_FALSE(llama.remove_extra_whitespaces || !llama.character_map.empty());
  EXPECT_EQ(llama.pieces.size(), 560u);
  EXPECT_FALSE(gemma.add_dummy_prefix);
  EXPECT_EQ(gemma.bos, "<bos>");
  EXPECT_EQ(std::count_if(gemma.pieces.begin(), gemma.pieces.end(),
                          [](const Piece& p) { return p.type == TokenType::user_defined; }),
            28);
  EXPECT_EQ(parse_sentencepiece(model_bytes("unigram"), "unigram").model, PieceModel::unigram);
  EXPECT_EQ(llama.normalization, "identity");
}

TEST(SentencePieceModel, NamedTokensAreFound) {
  const TokenizerData llama = tokenizer_from_hf(model_directory("llama")),
                      gemma = tokenizer_from_hf(model_directory("gemma"));
  EXPECT_EQ(llama.tokens.at(static_cast<std::size_t>(llama.bos.value())), "<s>");
  EXPECT_EQ(llama.unk, 0);
  EXPECT_FALSE(llama.pad);
  EXPECT_FALSE(llama.add_bos);  // says tokenizer_config.json
  EXPECT_TRUE(gemma.add_bos);
  EXPECT_EQ(gemma.pad, 0);
  EXPECT_EQ(gemma.eos, 1);
  EXPECT_EQ(gemma.bos, 2);
  const support::TempDir alone;
  core::write_text_file(alone.file("tokenizer.model"), model_bytes("llama"));
  EXPECT_TRUE(tokenizer_from_hf(alone.path())
                  .add_bos);  // as SentencePiece models of language models have it
}

TEST(SentencePieceModel, TokenizerJsonComesFirst) {
  const support::TempDir directory;
  core::write_text_file(directory.file("tokenizer.model"), "broken");
  EXPECT_THROW(tokenizer_from_hf(directory.path()), core::Error);
  core::write_text_file(directory.file("tokenizer.json"),
                        core::read_text_file(fixture_directory("gpt-2") + "/tokenizer.json"));
  EXPECT_EQ(tokenizer_from_hf(directory.path()).kind, TokenizerKind::byte_bpe);
}

TEST(SentencePieceModel, AddedTokensOfOtherFiles) {
  const support::TempDir directory;
  core::write_text_file(directory.file("tokenizer.model"), model_bytes("llama"));
  core::write_text_file(directory.file("added_tokens.json"),
                        R"({"<|user|>": 560, "<|plain|>": 563})");
  core::write_text_file(
      directory.file("tokenizer_config.json"),
      R"({"added_tokens_decoder": {"1": {"content": "<s>", "special": true}, "561": {"content": "<|end|>", "special": true, "rstrip": true}}})");
  const TokenizerData data = tokenizer_from_hf(directory.path());
  ASSERT_EQ(data.tokens.size(), 564u);
  EXPECT_EQ(data.types[560], TokenType::user_defined);
  EXPECT_EQ(data.types[561], TokenType::control);
  EXPECT_EQ(data.types[562], TokenType::unused);
  EXPECT_EQ(data.tokens[563], "<|plain|>");
  const Tokenizer tokenizer(data), again(through_hf(data)), from_gguf(through_gguf(data));
  const auto ids = tokenizer.encode("<|user|>a<|end|>  \n<|plain|>", false, true);
  ASSERT_GE(ids.size(), 4u);
  EXPECT_EQ(ids.front(), 560);
  EXPECT_EQ(ids[ids.size() - 2], 561);  // takes the white space along
  EXPECT_EQ(ids.back(), 563);
  EXPECT_EQ(again.encode("<|user|>a<|end|>  \n<|plain|>", false, true), ids);
  EXPECT_EQ(from_gguf.encode("<|user|>a<|end|>  \n<|plain|>", false, true), ids);
}

// tokenizer.json cannot look for pieces behind the space put in front of text.
TEST(SentencePieceModel, UserDefinedPiecesBehindAPrefixHaveNoTokenizerJson) {
  TokenizerData data = tokenizer_from_hf(model_directory("gemma"));
  data.add_space_prefix = true;
  const Tokenizer tokenizer(data), again(through_gguf(data));
  const std::string text = "a <tool>b";
  const auto ids = tokenizer.encode(text, false, false);
  EXPECT_EQ(tokenizer.piece(ids.front()).substr(0, 1), " ");
  EXPECT_EQ(tokenizer.piece(ids.back()), "b");  // and no space behind the piece
  EXPECT_EQ(again.encode(text, false, false), ids);
  const support::TempDir directory;
  try {
    tokenizer_to_hf(without_files(data), directory.path());
    FAIL() << "written";
  } catch (const core::Error& error) {
    EXPECT_EQ(error.kind(), core::ErrorKind::unsupported);
  }
}

}  // namespace
}  // namespace espalier::text
