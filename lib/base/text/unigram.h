// SPDX-License-Identifier: Apache-2.0
// Unigram segmentation: of all ways to cut a text into pieces, the one with the greatest sum of
// scores (log probabilities). Kudo 2018 (arXiv 1804.10959); found by Viterbi's algorithm from left
// to right, in time and memory linear in the text.
//
// As libsentencepiece has it: of equal sums the first one found (the earliest begin of the last
// piece) stays; a code point that is no piece by itself may be unknown, for 10 less than the least
// score of a normal piece; a user-defined piece of n bytes is worth n times the greatest score,
// less 0.1; unknown code points in a row are one unknown token, or with byte tokens their bytes.
// Sums are float, which decides between cuts that are all but equal.
#pragma once
#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "text/charsmap.h"
#include "text/piece_trie.h"
#include "text/tokenizer.h"

namespace espalier::text {

// Immutable and thread-safe after construction.
class Unigram {
 public:
  // `data` of kind unigram, checked.
  explicit Unigram(const TokenizerData& data);
  // Text as its pieces are written: characters mapped (user-defined pieces stay), spaces as U+2581,
  // one in front, further ones removed, as the data say.
  std::string normalize(std::string_view text) const;
  // Appends the ids of normalized text.
  void encode(std::string_view text, std::vector<std::int32_t>& ids) const;
  bool operator==(const Unigram&) const = default;

 private:
  struct Node {
    float sum = 0.0f;
    std::int32_t id = -1;  // of the last piece of the best cut that ends here; -1: unreached
    std::uint32_t start = 0;
  };
  CharacterMap::Match mapped(std::string_view text, std::size_t position) const;
  void segment(std::string_view text, std::vector<Node>& nodes) const;

  bool add_space_prefix_, remove_extra_spaces_;
  std::int32_t unknown_;
  std::vector<float> scores_;
  CharacterMap map_;
  PieceTrie pieces_, user_defined_;
  std::vector<bool> is_user_defined_;  // by id: found by sentencepiece itself, not before it
  float least_ = 0.0f, greatest_ = 0.0f;
  std::array<std::int32_t, 256> byte_ids_{};  // -1: there are no byte tokens
};

}  // namespace espalier::text
