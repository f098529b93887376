// SPDX-License-Identifier: Apache-2.0
// Ids of 200 kB of text in many scripts, whole and in pieces cut anywhere, against the packages
// `tokenizers` and `sentencepiece`, for every tokenizer there is in tests/golden.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "text/long_text.h"

namespace espalier::text {
namespace {

// Folders tests/golden/text_<name> with ids in them.
std::vector<std::string> stored_tokenizers() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(golden_path(""))) {
    const std::string folder = entry.path().filename().string();
    if (folder.starts_with("text_") && std::filesystem::exists(entry.path() / "golden.json"))
      names.push_back(folder.substr(5));
  }
  std::sort(names.begin(), names.end());
  return names;
}

nlohmann::json long_golden(const std::string& name) {
  return read_json(golden_path("text_long/" + name + ".json"));
}

std::string differences(const TokenizerData& data, const std::string& name) {
  const Tokenizer tokenizer(data);
  const nlohmann::json golden = long_golden(name);
  std::string out = long_text_differences(golden.at("plain"), [&](const std::string& text) {
    return tokenizer.encode(text, name.find("model-") != 0, false);
  });
  if (golden.contains("parsed"))
    out += long_text_differences(golden.at("parsed"), [&](const std::string& text) {
      return tokenizer.encode(text, true, true);
    });
  return out;
}

TEST(LongText, EveryTokenizerGivesTheSameIds) {
  const std::vector<std::string> names = stored_tokenizers();
  EXPECT_EQ(names.size(), 14u);
  for (const std::string& name : fixture_names())
    EXPECT_EQ(std::count(names.begin(), names.end(), name), 1) << name;
  for (const std::string& name : names)
    EXPECT_EQ(differences(tokenizer_from_hf(fixture_directory(name)), name), "") << name;
}

TEST(LongText, HasWhatItIsMadeFor) {
  const LongText& source = long_text();
  EXPECT_EQ(source.text.size(), 200000u);
  EXPECT_FALSE(is_valid_utf8(source.text));
  std::set<char32_t> blocks;  // of 256 code points
  for (std::size_t i = 0; i < source.text.size();) {
    const CodePoint point = code_point_at(source.text, i);
    if (point.valid) blocks.insert(point.value >> 8);
    i += point.length;
  }
  EXPECT_GT(blocks.size(), 200u);
  for (const char* part :
       {"\r\n", "\xE2\x80\x8D", "    ", "\n\n\n", "<|im_end|>", "\xCC\x81", "printf"})
    EXPECT_NE(source.text.find(part), std::string::npos) << part;
}

// The comparison notices one wrong merge, and says where.
TEST(LongText, OtherRulesGiveOtherIds) {
  TokenizerData changed = tokenizer_from_hf(fixture_directory("qwen2"));
  changed.nfc = false;
  EXPECT_NE(differences(changed, "qwen2").find("byte "), std::string::npos);
  changed = tokenizer_from_hf(fixture_directory("gpt-2"));
  changed.merges.pop_back();
  EXPECT_NE(differences(changed, "gpt-2"), "");
}

}  // namespace
}  // namespace espalier::text
