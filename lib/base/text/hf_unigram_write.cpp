// SPDX-License-Identifier: Apache-2.0
// TokenizerData of kind unigram -> the parts of a tokenizer.json that only this kind has.
#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>

#include "text/base64.h"
#include "text/hf_unigram.h"
#include "text/vocabulary.h"

namespace espalier::text {
namespace {

nlohmann::ordered_json replace_step(const char* kind, std::string_view pattern,
                                    std::string_view content) {
  return {{"type", "Replace"}, {"pattern", {{kind, pattern}}}, {"content", content}};
}

// Without the unused tokens at the end, which pad the rows of an embedding.
std::size_t used_tokens(const TokenizerData& data) {
  std::size_t n = data.types.size();
  while (n > 0 && data.types[n - 1] == TokenType::unused) --n;
  return n;
}

}  // namespace

bool has_unigram_json(const TokenizerData& data) {
  const auto end = data.types.begin() + static_cast<std::ptrdiff_t>(used_tokens(data));
  return std::find(data.types.begin(), end, TokenType::unused) == end &&
         std::none_of(data.rules.begin(), data.rules.end(),
                      [](const AddedRule& rule) { return rule.normalized; });
}

nlohmann::ordered_json unigram_normalizer(const TokenizerData& data) {
  auto steps = nlohmann::ordered_json::array();
  if (!data.charsmap.empty())
    steps.push_back(
        {{"type", "Precompiled"}, {"precompiled_charsmap", encode_base64(data.charsmap)}});
  if (data.space_rule == SpaceRule::metaspace_first) {
    steps.push_back({{"type", "Strip"}, {"strip_left", false}, {"strip_right", true}});
    steps.push_back(replace_step("Regex", kSeveralSpaces, kSpaceSymbol));
  }
  if (data.space_rule == SpaceRule::every_segment) {
    if (data.remove_extra_spaces) {
      steps.push_back(replace_step("Regex", kTrimmedSpaces, ""));
      steps.push_back(replace_step("Regex", kSeveralSpaces, " "));
    }
    if (data.add_space_prefix) steps.push_back({{"type", "Prepend"}, {"prepend", kSpaceSymbol}});
    steps.push_back(replace_step("String", " ", kSpaceSymbol));
  }
  if (steps.empty()) return nullptr;
  return {{"type", "Sequence"}, {"normalizers", steps}};
}

nlohmann::ordered_json unigram_pre_tokenizer(const TokenizerData& data) {
  if (data.space_rule == SpaceRule::every_segment) return nullptr;
  const nlohmann::ordered_json metaspace = {
      {"type", "Metaspace"},
      {"replacement", kSpaceSymbol},
      {"prepend_scheme", data.add_space_prefix ? "always" : "never"},
      {"split", false}};
  if (data.space_rule == SpaceRule::metaspace_first) return metaspace;
  return {
      {"type", "Sequence"},
      {"pretokenizers", nlohmann::ordered_json::array({{{"type", "WhitespaceSplit"}}, metaspace})}};
}

std::string unigram_model(const TokenizerData& data) {
  // The price of an unknown character follows from the least of all scores. Only those of normal
  // pieces count here, so that no other may be below.
  float least = std::numeric_limits<float>::max();
  bool bytes = false;
  for (std::size_t i = 0; i < data.tokens.size(); ++i) {
    if (data.types[i] == TokenType::normal) least = std::min(least, data.scores[i]);
    bytes = bytes || data.types[i] == TokenType::byte;
  }
  std::string out = "{\n    \"type\": \"Unigram\",\n    \"unk_id\": " + std::to_string(*data.unk) +
                    ",\n    \"byte_fallback\": " + (bytes ? "true" : "false") +
                    ",\n    \"vocab\": [";
  for (std::size_t i = 0; i < used_tokens(data); ++i) {
    const float score = std::max(data.scores[i], least);
    out += i == 0 ? "\n      " : ",\n      ";
    out += nlohmann::ordered_json::array({data.tokens[i], static_cast<double>(score)}).dump();
  }
  return out + "\n    ]\n  }";
}

}  // namespace espalier::text
