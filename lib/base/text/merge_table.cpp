// SPDX-License-Identifier: Apache-2.0
// A hash table of merges, and the heap algorithm over a doubly linked list of symbols.
#include "text/merge_table.h"

#include <algorithm>
#include <limits>

namespace espalier::text {
namespace {

constexpr std::uint64_t kEmpty =
    std::numeric_limits<std::uint64_t>::max();  // no pair: ids are never negative
constexpr std::uint32_t kNone = std::numeric_limits<std::uint32_t>::max();

std::uint64_t pair_key(std::int32_t left, std::int32_t right) {
  return (static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32) |
         static_cast<std::uint32_t>(right);
}

}  // namespace

MergeTable::MergeTable(std::size_t n) : slots_(n + n / 2 + 1, Slot{kEmpty, {0, -1}}) {}

MergeTable::MergeTable(const std::vector<Merge>& merges) : MergeTable(merges.size()) {
  for (const Merge& merge : merges) add(merge);
}

// The key is scattered by Fibonacci's multiplier and scaled to the length of the table. Linear
// steps follow.
std::size_t MergeTable::slot_of(std::uint64_t key) const {
  const std::uint64_t scattered = (key * 0x9E3779B97F4A7C15u) >> 32;
  for (auto i = static_cast<std::size_t>(scattered * slots_.size() >> 32);;
       i = i + 1 == slots_.size() ? 0 : i + 1)
    if (slots_[i].key == key || slots_[i].key == kEmpty) return i;
}

bool MergeTable::add(const Merge& merge) {
  const std::uint64_t key = pair_key(merge.left, merge.right);
  Slot& slot = slots_[slot_of(key)];
  if (slot.key == key) return false;
  slot = {key, {merge.rank, merge.result}};
  return true;
}

MergeTable::Target MergeTable::find(std::int32_t left, std::int32_t right) const {
  if (left < 0 || right < 0) return {0, -1};
  // A free slot has a target that merges nothing.
  return slots_[slot_of(pair_key(left, right))].target;
}

void Merger::push(const MergeTable& table, const std::vector<Symbol>& word,
                  std::uint32_t position) {
  const std::uint32_t right = next_[position];
  if (right == kNone) return;
  const MergeTable::Target target = table.find(word[position].id, word[right].id);
  if (target.result < 0) return;
  heap_.push_back({target.rank, position, word[position].id, word[right].id, target.result});
}

void Merger::apply(const MergeTable& table, std::vector<Symbol>& word,
                   std::vector<std::int32_t>* made) {
  if (word.size() < 2) return;
  const auto later = [](const Candidate& a, const Candidate& b) {
    return a.rank != b.rank ? a.rank > b.rank : a.position > b.position;
  };
  const auto n = static_cast<std::uint32_t>(word.size());
  previous_.resize(n);
  next_.resize(n);
  heap_.clear();
  for (std::uint32_t i = 0; i < n; ++i) {
    previous_[i] = i == 0 ? kNone : i - 1;
    next_[i] = i + 1 == n ? kNone : i + 1;
  }
  for (std::uint32_t i = 0; i + 1 < n; ++i) push(table, word, i);
  std::make_heap(heap_.begin(), heap_.end(), later);
  while (!heap_.empty()) {
    std::pop_heap(heap_.begin(), heap_.end(), later);
    const Candidate best = heap_.back();
    heap_.pop_back();
    const std::uint32_t left = best.position, right = next_[left];
    // A candidate is stale when either side has merged with another symbol since. A symbol merged
    // into its left neighbour is marked: next_ points at itself. So it cannot look like a live
    // pair.
    if (right == kNone || right == left || word[left].id != best.left ||
        word[right].id != best.right)
      continue;
    word[left].id = best.result;
    if (made != nullptr) made->push_back(best.result);
    const std::uint32_t after = next_[right];
    next_[left] = after;
    next_[right] = right;
    if (after != kNone) previous_[after] = left;
    const std::size_t before_push = heap_.size();
    if (previous_[left] != kNone) push(table, word, previous_[left]);
    if (heap_.size() > before_push) std::push_heap(heap_.begin(), heap_.end(), later);
    const std::size_t before_second = heap_.size();
    push(table, word, left);
    if (heap_.size() > before_second) std::push_heap(heap_.begin(), heap_.end(), later);
  }
  std::size_t kept = 0;
  for (std::uint32_t i = 0; i != kNone; i = next_[i]) word[kept++] = word[i];
  word.resize(kept);
}

}  // namespace espalier::text
