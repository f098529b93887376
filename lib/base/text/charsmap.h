// SPDX-License-Identifier: Apache-2.0
// The character map of a SentencePiece normalization (nmt_nfkc, nfkc_cf, ...): the longest prefix
// of a text that has an entry, and what it becomes. Compiled form, as tokenizer.model and GGUF have
// it (SentencePiece, Kudo and Richardson 2018, arXiv 1808.06226; double array: Darts-clone):
//
//   u32 n            bytes of the trie, little-endian
//   u32 unit[n / 4]  double array; bits of a unit: 31 the unit is a value, 30-10 offset (9: times 256), 8 a value follows, 7-0 label
//   bytes            replacements, each ended by a zero byte; a value is where one begins
//
// A child of the unit at i by byte c is at i ^ offset ^ c and has the label c; the value of a unit
// is at i ^ offset.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace espalier::text {

class CharacterMap {
 public:
  CharacterMap() = default;  // maps nothing
  // Empty bytes map nothing. Error(input) naming `where` when the sizes do not fit, a replacement
  // is not ended or longer than 1024 bytes.
  CharacterMap(std::string_view bytes, const std::string& where);

  struct Match {
    std::size_t length = 0;  // 0: nothing there is mapped
    std::string_view replacement = {};
  };
  // At `position`, which is inside the text. Units that point outside the map match nothing.
  Match find(std::string_view text, std::size_t position) const;
  bool operator==(const CharacterMap&) const = default;

 private:
  std::vector<std::uint32_t> units_;
  std::string replacements_;
};

}  // namespace espalier::text
