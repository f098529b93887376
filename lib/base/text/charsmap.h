// SPDX-License-Identifier: Apache-2.0
// The character map of a SentencePiece normalization (nmt_nfkc, nfkc_cf, ...). It finds the longest
// prefix of a text that has an entry, and its replacement. The compiled form below is the one in
// tokenizer.model and GGUF (SentencePiece, Kudo and Richardson 2018, arXiv 1808.06226; double
// array: Darts-clone):
//
//   u32 n            bytes of the trie, little-endian
//   u32 unit[n / 4]  double array
//                    bits of a unit: 31 the unit is a value, 30-10 offset (9: times 256),
//                                    8 a value follows, 7-0 label
//   bytes            replacements, each ended by a zero byte; a value is the start of one
//
// A child of the unit at i by byte c is at i ^ offset ^ c and has the label c. The value of a unit
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
  // Empty bytes map nothing. Error(input) naming `where` when the sizes do not fit, or when a
  // replacement is not terminated or longer than 1024 bytes.
  CharacterMap(std::string_view bytes, const std::string& where);

  struct Match {
    std::size_t length = 0;  // 0: nothing at that position is mapped
    std::string_view replacement = {};
  };
  // The match at `position`, which is inside the text. Units that point outside the map match
  // nothing.
  Match find(std::string_view text, std::size_t position) const;
  bool operator==(const CharacterMap&) const = default;

 private:
  std::vector<std::uint32_t> units_;
  std::string replacements_;
};

}  // namespace espalier::text
