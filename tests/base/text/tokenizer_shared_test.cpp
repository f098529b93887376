// SPDX-License-Identifier: Apache-2.0
// Real tokenizers.
#include <gtest/gtest.h>

#include "core/error.h"
#include "support/growth.h"
#include "support/shared_files.h"
#include "text/fixtures.h"

namespace espalier::text {
namespace {

std::string shared_path(const std::string& name) { return support::shared_file("data/" + name); }

TokenizerData load_gguf(const std::string& path) {
  return tokenizer_from_gguf(format::GgufHeader::read(core::FileReader(path)));
}

TokenizerData load_json(const std::string& path) {
  const support::TempDir directory;
  core::write_text_file(directory.file("tokenizer.json"), core::read_text_file(path));
  return tokenizer_from_hf(directory.path());
}

// The same ids through files of both kinds, the text back from its ids, and time that grows with
// the text.
void check_real(const TokenizerData& data, bool reversible) {
  const Tokenizer tokenizer(data), by_gguf(through_gguf(data)),
      by_hf(through_hf(through_gguf(without_files(data))));
  for (const auto& [name, text] : stress_texts()) {
    const auto ids = tokenizer.encode(text, true, true);
    EXPECT_EQ(by_gguf.encode(text, true, true), ids) << name;
    EXPECT_EQ(by_hf.encode(text, true, true), ids) << name;
    EXPECT_FALSE(ids.empty() && !text.empty()) << name;
  }
  const std::string file = shared_path("text/wikitext2_valid.txt");
  ESP_NEED_FILE(file);
  const std::string text = core::read_text_file(file);
  std::vector<std::int32_t> ids;
  EXPECT_LT(
      support::growth([&](const std::string& some) { ids = tokenizer.encode(some, false, false); },
                      text.substr(0, text.size() / 8), text),
      support::kLinear);
  EXPECT_TRUE(!reversible || tokenizer.decode(ids) == text);
}

TEST(RealTokenizer, SmolLM2) {
  const std::string path = support::teacher_file();
  ESP_NEED_FILE(path);
  const TokenizerData data = load_gguf(path);
  EXPECT_EQ(data.pre, "smollm");
  EXPECT_EQ(data.tokens.size(), 49152u);
  const Tokenizer tokenizer(data);
  // As transformers has them.
  EXPECT_EQ(tokenizer.encode("Hello world, it's 2024!"),
            (std::vector<std::int32_t>{19556, 905, 28, 357, 506, 216, 34, 32, 34, 36, 17}));
  EXPECT_EQ(tokenizer.encode("<|im_start|>user\n", true, true),
            (std::vector<std::int32_t>{1, 4093, 198}));
  check_real(data, true);
}

TEST(RealTokenizer, Stories260K) {
  const std::string path = shared_path("teachers/stories260K.gguf");
  ESP_NEED_FILE(path);
  const TokenizerData data = load_gguf(path);
  EXPECT_EQ(data.kind, TokenizerKind::spm);
  const Tokenizer tokenizer(data);
  EXPECT_EQ(tokenizer.encode("Once upon a time"),
            (std::vector<std::int32_t>{1, 403, 407, 261, 378}));
  check_real(data, true);
  EXPECT_TRUE(same_vocabulary(through_hf(data), data));
}

TEST(RealTokenizer, Gpt2FromVocabularyAndMerges) {
  const std::string vocab = shared_path("tokenizers/gpt2_vocab.json"),
                    merges = shared_path("tokenizers/gpt2_merges.txt");
  ESP_NEED_FILE(vocab);
  ESP_NEED_FILE(merges);
  TokenizerData data;
  data.pre = "gpt-2";
  const nlohmann::json file = read_json(vocab);
  data.tokens.resize(file.size());
  for (const auto& [token, id] : file.items()) data.tokens.at(id.get<std::size_t>()) = token;
  data.types.assign(data.tokens.size(), TokenType::normal);
  data.types.at(50256) = TokenType::control;
  const std::string lines = core::read_text_file(merges);
  for (std::size_t start = 0; start < lines.size();) {
    const std::size_t end = lines.find('\n', start);
    const std::string line = lines.substr(start, end - start);
    if (!line.empty() && !line.starts_with("#version")) data.merges.push_back(line);
    start = end == std::string::npos ? lines.size() : end + 1;
  }
  EXPECT_EQ(data.merges.size(), 50000u);
  EXPECT_EQ(Tokenizer(data).encode("Hello world's 12"),
            (std::vector<std::int32_t>{15496, 995, 338, 1105}));
  check_real(data, true);
}

TEST(RealTokenizer, Phi3) {
  const std::string path = shared_path("tokenizers/phi3_tokenizer.json");
  ESP_NEED_FILE(path);
  const TokenizerData data = load_json(path);
  EXPECT_EQ(data.kind, TokenizerKind::spm);
  EXPECT_EQ(Tokenizer(data).encode("<|user|>\nHi<|end|>", false, true),
            (std::vector<std::int32_t>{32010, 29871, 13, 18567, 32007}));
  check_real(data, true);
}

// Ids as `sentencepiece` gives them.
TEST(RealTokenizer, MistralModel) {
  const std::string path = shared_path("tokenizers/mistral_v1.model");
  ESP_NEED_FILE(path);
  const support::TempDir directory;
  core::write_text_file(directory.file("tokenizer.model"), core::read_text_file(path));
  const TokenizerData data = tokenizer_from_hf(directory.path());
  EXPECT_EQ(data.kind, TokenizerKind::spm);
  EXPECT_EQ(data.tokens.size(), 32000u);
  EXPECT_TRUE(data.add_bos);
  const Tokenizer tokenizer(data);
  EXPECT_EQ(tokenizer.encode("Hello world, it's 2024!", false),
            (std::vector<std::int32_t>{22557, 1526, 28725, 378, 28742, 28713, 28705, 28750, 28734,
                                       28750, 28781, 28808}));
  EXPECT_EQ(tokenizer.encode("  two  spaces \n\ttab \xF0\x9F\xA6\x99 caf\xC3\xA9", false),
            (std::vector<std::int32_t>{259, 989, 28705, 10599, 28705, 13, 12, 4252, 28705, 243, 162,
                                       169, 156, 28345}));
  check_real(data, true);
}

TEST(RealTokenizer, GptNeoX) {
  const std::string path = shared_path("tokenizers/gptneox_20B_tokenizer.json");
  ESP_NEED_FILE(path);
  const TokenizerData data = load_json(path);
  EXPECT_TRUE(data.nfc);
  check_real(data, false);  // composes what is not
}

TEST(RealTokenizer, FalconIsRefusedByName) {
  const std::string path = shared_path("tokenizers/falcon_tokenizer.json");
  ESP_NEED_FILE(path);
  try {
    load_json(path);
    FAIL() << "read";
  } catch (const core::Error& error) {
    EXPECT_EQ(error.kind(), core::ErrorKind::unsupported);
    EXPECT_NE(std::string(error.what()).find("Punctuation, ByteLevel, Digits, Split"),
              std::string::npos)
        << error.what();
  }
}

}  // namespace
}  // namespace espalier::text
