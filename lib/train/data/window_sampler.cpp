// SPDX-License-Identifier: Apache-2.0
// The order of an epoch is a keyed permutation of its windows. It is a Feistel network of four
// rounds over the next even power of two, applied again until the value is in range (Black, Rogaway
// 2002, "Ciphers with Arbitrary Finite Domains"). Window i costs O(1) and needs no state.
#include <algorithm>
#include <bit>

#include "core/error.h"
#include "core/notes.h"
#include "core/rng.h"
#include "data/corpus.h"

namespace espalier::data {
namespace {

std::uint64_t permuted(std::uint64_t index, std::uint64_t n, std::uint64_t seed,
                       std::uint64_t epoch) {
  const int half = std::max(1, (static_cast<int>(std::bit_width(n - 1)) + 1) / 2);
  const std::uint64_t mask = (std::uint64_t{1} << half) - 1;
  do {
    std::uint64_t left = index >> half, right = index & mask;
    for (std::uint64_t round = 0; round < 4; ++round) {
      const std::uint64_t next = left ^ (core::Rng(seed, 4 * epoch + round).at(right) & mask);
      left = right;
      right = next;
    }
    index = (left << half) | right;
  } while (index >= n);
  return index;
}

}  // namespace

WindowSampler::WindowSampler(std::int64_t n_tokens, std::int64_t sequence, std::uint64_t seed)
    : n_tokens_(n_tokens),
      sequence_(sequence),
      per_epoch_(sequence > 0 ? n_tokens / sequence : 0),
      seed_(seed) {
  ESP_CHECK(per_epoch_ >= 1, input, "the text has ", n_tokens, " tokens, fewer than one window of ",
            sequence, "; give more text or a shorter sequence");
}

std::int64_t WindowSampler::start(std::int64_t window_index) const {
  const std::uint64_t epoch = static_cast<std::uint64_t>(window_index / per_epoch_),
                      place = static_cast<std::uint64_t>(window_index % per_epoch_);
  const std::uint64_t slack = static_cast<std::uint64_t>(n_tokens_ % sequence_) + 1;
  const std::int64_t offset =
      static_cast<std::int64_t>(core::Rng(seed_, 0x0FF5E7).at(epoch) % slack);
  return static_cast<std::int64_t>(
             permuted(place, static_cast<std::uint64_t>(per_epoch_), seed_, epoch)) *
             sequence_ +
         offset;
}

std::int64_t WindowSampler::start_from_end(std::int64_t window_index) const {
  const std::int64_t first = window_index / per_epoch_ * per_epoch_;
  return start(first + (per_epoch_ - 1 - window_index % per_epoch_));
}

std::int64_t WindowSampler::windows_per_epoch() const { return per_epoch_; }

std::vector<std::int64_t> calibration_ids(const Corpus& corpus,
                                          const text::CalibrationOptions& options,
                                          std::int64_t vocab) {
  const std::int64_t tokens = options.tokens, sequence = options.sequence;
  const auto available = static_cast<std::int64_t>(corpus.tokens.size());
  ESP_CHECK(sequence >= 1 && tokens >= 1, usage,
            "calibration: tokens and sequence must be positive");
  ESP_CHECK(
      sequence >= 2 || !corpus.bos, usage,
      "calibration: a window of 1 token would be BOS alone, which stands over the first token "
      "of each window; give a longer --sequence");
  require_vocabulary(corpus, vocab);
  const std::int64_t n = std::min(tokens, available) / sequence;
  ESP_CHECK(n >= 1, input, corpus.path, ": calibration needs at least one window of ", sequence,
            " tokens within ", tokens, ", the text has ", available);
  if (n < tokens / sequence)
    core::note(corpus.path + ": " + std::to_string(n * sequence) + " of " + std::to_string(tokens) +
               " tokens were read: the text has no more whole windows of " +
               std::to_string(sequence));
  const WindowSampler sampler(available, sequence, options.seed);
  std::vector<std::int64_t> ids(static_cast<std::size_t>(n * sequence));
  for (std::int64_t i = 0; i < n; ++i)
    corpus.read_window(sampler.start(i),
                       std::span(ids).subspan(static_cast<std::size_t>(i * sequence),
                                              static_cast<std::size_t>(sequence)));
  return ids;
}

}  // namespace espalier::data
