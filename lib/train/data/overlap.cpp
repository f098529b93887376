// SPDX-License-Identifier: Apache-2.0
// Finds common text. The hashes of all runs of n held-out tokens go into a table. One pass of a
// rolling hash over the training tokens looks them up. A hit counts only when the tokens are equal.
// O(train + held_out) time, O(held_out) memory.
#include <algorithm>
#include <unordered_map>
#include <vector>

#include "core/error.h"
#include "data/corpus.h"

namespace espalier::data {
namespace {

// Odd. The hash is a polynomial modulo 2^64, finished by a mixer.
constexpr std::uint64_t kBase = 0x9E3779B97F4A7C15u;

// Calls visit(start, hash) for every run of n tokens, in order.
template <typename F>
void for_each_run(const std::vector<std::int32_t>& tokens, std::int64_t n, F&& visit) {
  std::uint64_t leaving = 1;  // kBase^(n-1)
  for (std::int64_t i = 1; i < n; ++i) leaving *= kBase;
  const auto value = [&](std::int64_t i) {
    return (static_cast<std::uint64_t>(tokens[static_cast<std::size_t>(i)]) + 1) *
           0xD6E8FEB86659FD93u;
  };
  std::uint64_t hash = 0;
  for (std::int64_t i = 0; i < static_cast<std::int64_t>(tokens.size()); ++i) {
    if (i >= n) hash -= value(i - n) * leaving;
    hash = hash * kBase + value(i);
    if (i + 1 >= n) visit(i + 1 - n, hash ^ (hash >> 29));
  }
}

}  // namespace

Overlap find_overlap(const Corpus& train, const Corpus& held_out, const text::Tokenizer& tokenizer,
                     std::int64_t n) {
  ESP_CHECK(n > 0, usage, "runs of ", n, " tokens");
  const auto size = static_cast<std::int64_t>(held_out.tokens.size());
  // The starts of held-out runs by hash. Runs of equal tokens (repeated text) form a chain.
  std::unordered_map<std::uint64_t, std::int64_t> first;
  first.reserve(held_out.tokens.size());
  std::vector<std::int64_t> next(held_out.tokens.size(), -1);
  for_each_run(held_out.tokens, n, [&](std::int64_t start, std::uint64_t hash) {
    const auto [it, fresh] = first.emplace(hash, start);
    if (!fresh) {
      next[static_cast<std::size_t>(start)] = it->second;
      it->second = start;
    }
  });
  std::vector<bool> found(held_out.tokens.size(), false);
  std::int64_t example = -1;
  for_each_run(train.tokens, n, [&](std::int64_t start, std::uint64_t hash) {
    const auto it = first.find(hash);
    if (it == first.end()) return;
    // When the newest start of a chain is found, the other starts are found too. So the whole chain
    // is marked the first time.
    for (std::int64_t h = it->second; h >= 0 && !found[static_cast<std::size_t>(h)];
         h = next[static_cast<std::size_t>(h)]) {
      if (!std::equal(train.tokens.begin() + start, train.tokens.begin() + start + n,
                      held_out.tokens.begin() + h))
        continue;
      found[static_cast<std::size_t>(h)] = true;
      if (example < 0 || h < example) example = h;
    }
  });
  Overlap out;
  std::int64_t covered = 0;  // tokens before this position are counted already
  for (std::int64_t h = 0; h < size; ++h) {
    if (!found[static_cast<std::size_t>(h)]) continue;
    out.tokens += h + n - std::max(h, covered);
    covered = h + n;
  }
  if (example >= 0)
    out.example = tokenizer.decode(
        {held_out.tokens.begin() + example, held_out.tokens.begin() + example + n});
  return out;
}

void require_disjoint(const Corpus& train, const Corpus& held_out, const text::Tokenizer& tokenizer,
                      std::int64_t n) {
  const Overlap overlap = find_overlap(train, held_out, tokenizer, n);
  ESP_CHECK(overlap.tokens == 0, check_failed, held_out.path, ": ", overlap.tokens, " of ",
            held_out.tokens.size(), " held-out tokens also occur in ", train.path, " (runs of ", n,
            " tokens or more), for example: \"", overlap.example, "\"");
}

}  // namespace espalier::data
