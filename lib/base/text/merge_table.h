// SPDX-License-Identifier: Apache-2.0
// The merging core that both kinds of tokenizer share: which neighbouring token pairs become one
// token, in which order, and the algorithm that merges one word.
//
// Method (Sennrich, Haddow, Birch 2016, arXiv 1508.07909): repeatedly merge the pair of lowest
// rank, leftmost first. A linked list and a heap make that n log n, so one long word costs no more
// than many short words.
#pragma once
#include <cstdint>
#include <vector>

namespace espalier::text {

struct Merge {
  std::int32_t left, right;
  std::uint32_t rank;  // lower ranks merge first; equal ranks leftmost first
  std::int32_t result;
};

// One position of the word being merged. An `id` < 0 never merges (a code point outside the
// vocabulary).
struct Symbol {
  std::int32_t id;
  // The caller's offset of the symbol. A merged symbol keeps the offset of its leftmost part.
  std::uint32_t start;
};

class MergeTable {
 public:
  explicit MergeTable(std::size_t n = 0);  // room for n merges
  explicit MergeTable(const std::vector<Merge>& merges);
  bool add(const Merge& merge);  // false, and no change, when the table already has the pair
  struct Target {
    std::uint32_t rank;
    std::int32_t result;  // -1: the pair does not merge
    bool operator==(const Target&) const = default;
  };
  Target find(std::int32_t left, std::int32_t right) const;
  // True when both tables were made of the same merges in the same order.
  bool operator==(const MergeTable&) const = default;

 private:
  struct Slot {
    std::uint64_t key;
    Target target;
    bool operator==(const Slot&) const = default;
  };
  std::size_t slot_of(std::uint64_t key) const;  // the slot of the pair, or the free slot for it

  std::vector<Slot> slots_;  // open addressing, at most two thirds full
};

// Merges words. It holds the scratch memory of apply(), which the caller keeps between words. Not
// thread-safe.
class Merger {
 public:
  // Merges `word` in place until no pair merges. At most 2^31 symbols. Appends the token that each
  // merge makes to `made`, in order.
  void apply(const MergeTable& table, std::vector<Symbol>& word,
             std::vector<std::int32_t>* made = nullptr);

 private:
  struct Candidate {
    std::uint32_t rank, position;
    std::int32_t left, right, result;
  };
  void push(const MergeTable& table, const std::vector<Symbol>& word, std::uint32_t position);
  std::vector<std::uint32_t> previous_, next_;
  std::vector<Candidate> heap_;
};

}  // namespace espalier::text
