// SPDX-License-Identifier: Apache-2.0
// TokenizerData of kind unigram -> tokenizer.model. sentencepiece_model.h draws the message.
#include <algorithm>
#include <bit>
#include <string_view>

#include "text/sentencepiece_model.h"

namespace espalier::text {
namespace {

std::string varint(std::uint64_t value) {
  std::string out;
  for (; value >= 0x80; value >>= 7) out.push_back(static_cast<char>((value & 0x7F) | 0x80));
  out.push_back(static_cast<char>(value));
  return out;
}
std::string number(std::uint32_t field, std::uint64_t value) {
  return varint(field << 3) + varint(value);
}
std::string bytes(std::uint32_t field, std::string_view content) {
  return (varint(field << 3 | 2) + varint(content.size())).append(content);
}
std::string float32(std::uint32_t field, float value) {
  std::string out = varint(field << 3 | 5);
  const auto bits = std::bit_cast<std::uint32_t>(value);
  for (unsigned shift = 0; shift < 32; shift += 8)
    out.push_back(static_cast<char>(static_cast<unsigned char>(bits >> shift)));
  return out;
}

}  // namespace

std::string build_sentencepiece(const TokenizerData& data) {
  std::vector<AddedRule> rules(data.tokens.size());
  for (const AddedRule& rule : data.rules) rules[static_cast<std::size_t>(rule.id)] = rule;
  std::string out;
  for (std::size_t i = 0; i < data.tokens.size(); ++i) {
    TokenType type = data.types[i];
    const bool found_before = (type == TokenType::user_defined && !rules[i].bare) ||
                              (type == TokenType::control && (rules[i].lstrip || rules[i].rstrip));
    if (found_before) type = TokenType::unused;
    out += bytes(1, bytes(1, data.tokens[i]) + float32(2, data.scores[i]) +
                        number(3, static_cast<std::uint64_t>(type)));
  }
  const bool fallback =
      std::find(data.types.begin(), data.types.end(), TokenType::byte) != data.types.end();
  std::string trainer =
      number(3, static_cast<std::uint64_t>(PieceModel::unigram)) + number(35, fallback ? 1 : 0);
  const auto name = [&](std::uint32_t field, const std::optional<std::int32_t>& id) {
    if (id) trainer += bytes(field, data.tokens[static_cast<std::size_t>(*id)]);
  };
  name(45, data.unk);
  name(46, data.bos);
  name(47, data.eos);
  name(48, data.pad);
  out += bytes(2, trainer);
  std::string normalizer = data.charsmap.empty() ? bytes(1, "identity") : bytes(2, data.charsmap);
  normalizer += number(3, data.add_space_prefix ? 1 : 0) +
                number(4, data.remove_extra_spaces ? 1 : 0) + number(5, 1);
  return out + bytes(3, normalizer);
}

}  // namespace espalier::text
