// SPDX-License-Identifier: Apache-2.0
// Checks and walks the compiled character map of a SentencePiece normalization.
#include "text/charsmap.h"

#include "core/error.h"

namespace espalier::text {
namespace {

constexpr std::size_t kMaxReplacementBytes = 1024;  // the longest replacement of NFKC has 33
constexpr std::uint32_t kValueBit = std::uint32_t{1} << 31;

std::uint32_t number_at(std::string_view bytes, std::size_t i) {
  std::uint32_t value = 0;
  for (std::size_t k = 4; k-- > 0;) value = (value << 8) | static_cast<unsigned char>(bytes[i + k]);
  return value;
}

std::size_t offset_of(std::uint32_t unit) {
  return static_cast<std::size_t>(unit >> 10 & 0x1FFFFF) << ((unit & 0x200) >> 6);
}

}  // namespace

CharacterMap::CharacterMap(std::string_view bytes, const std::string& where) {
  if (bytes.empty()) return;
  ESP_CHECK(bytes.size() > 4, input, where, ": the character map has ", bytes.size(),
            " bytes, expected more than 4");
  const std::size_t trie_bytes = number_at(bytes, 0);
  ESP_CHECK(trie_bytes % 4 == 0 && trie_bytes > 0 && trie_bytes < bytes.size() - 4, input, where,
            ": the trie of the character map has ", trie_bytes,
            " bytes, expected a multiple of 4 below ", bytes.size() - 4);
  replacements_ = bytes.substr(4 + trie_bytes);
  ESP_CHECK(replacements_.back() == '\0', input, where,
            ": the last replacement of the character map has no end");
  for (std::size_t start = 0; start < replacements_.size();) {
    const std::size_t end = replacements_.find('\0', start);
    ESP_CHECK(end - start <= kMaxReplacementBytes, input, where,
              ": the character map has a replacement of ", end - start, " bytes, more than ",
              kMaxReplacementBytes);
    start = end + 1;
  }
  units_.reserve(trie_bytes / 4);
  for (std::size_t i = 0; i < trie_bytes; i += 4) units_.push_back(number_at(bytes, 4 + i));
}

CharacterMap::Match CharacterMap::find(std::string_view text, std::size_t position) const {
  Match best;
  if (units_.empty()) return best;
  std::size_t node = offset_of(units_[0]);
  for (std::size_t i = position; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    node ^= byte;
    if (byte == 0 || node >= units_.size() || (units_[node] & (kValueBit | 0xFF)) != byte) break;
    const std::uint32_t unit = units_[node];
    node ^= offset_of(unit);
    if ((unit & 0x100) == 0) continue;
    if (node >= units_.size()) break;
    const std::size_t start = units_[node] & ~kValueBit;
    if (start >= replacements_.size()) break;
    best = {i + 1 - position,
            std::string_view(replacements_).substr(start, replacements_.find('\0', start) - start)};
  }
  return best;
}

}  // namespace espalier::text
