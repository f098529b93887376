// SPDX-License-Identifier: Apache-2.0
// Unigram segmentation: of all ways to cut a text into pieces, the one with the greatest sum of
// scores (log probabilities). Kudo 2018 (arXiv 1804.10959). Viterbi's algorithm finds it from left
// to right, in time and memory linear in the text.
//
// The details are those of libsentencepiece:
// - Of equal sums, the first one found wins (the earliest begin of the last piece).
// - A code point that is not a piece may be unknown. That costs 10 below the least score of a
//   normal piece.
// - A user-defined piece of n bytes scores n times the greatest score, minus 0.1.
// - Consecutive unknown code points are one unknown token, or their bytes if there are byte tokens.
// - Sums are float for what was read of a tokenizer.model, which decides between cuts that are
//   almost equal. Of a tokenizer.json or a GGUF they are double, as in tokenizers and llama.cpp.
//   Then they are exact, and what stands before a word has no part in how it is cut.
//
// How spaces are treated (TokenizerSettings::space_rule):
// - every_segment: as in libsentencepiece. The white space that the map leaves is text.
// - metaspace_first: U+2581 stands in front of the text unless there is one. White space at the end
//   is removed, and of several spaces one is left.
// - metaspace_always: words are what stands between white space. U+2581 stands in front of every
//   word unless there is one.
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
  // `data` is of kind unigram and has been checked.
  explicit Unigram(const TokenizerData& data);
  // Rewrites a text the way that pieces are written, as the data say. Characters are mapped, except
  // in user-defined pieces. Spaces become U+2581. A space is put in front, and extra spaces are
  // removed.
  std::string normalize(std::string_view text) const;
  // Appends the ids of normalized text.
  void encode(std::string_view text, std::vector<std::int32_t>& ids) const;
  bool operator==(const Unigram&) const = default;

 private:
  struct Node {
    double sum = 0.0;
    // The last piece of the best cut that ends here. -1: not reached.
    std::int32_t id = -1;
    std::uint32_t start = 0;
  };
  CharacterMap::Match mapped(std::string_view text, std::size_t position) const;
  std::string normalize_metaspace(std::string_view text) const;
  void segment(std::string_view text, std::vector<Node>& nodes) const;

  bool add_space_prefix_, remove_extra_spaces_;
  SpaceRule space_rule_;
  struct Sums {
    bool single = false;
    bool operator==(const Sums&) const { return true; }  // the vocabulary is the same
  };
  Sums sums_;
  std::int32_t unknown_;
  std::vector<float> scores_;
  CharacterMap map_;
  PieceTrie pieces_, user_defined_;
  // By id. True for pieces that sentencepiece itself finds, not a search before it.
  std::vector<bool> is_user_defined_;
  float least_ = 0.0f, greatest_ = 0.0f;
  std::array<std::int32_t, 256> byte_ids_{};  // -1: there are no byte tokens
};

}  // namespace espalier::text
