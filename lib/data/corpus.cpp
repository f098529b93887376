// Reading and tokenizing text; windows in a seeded order.
#include "data/corpus.h"

#include <algorithm>

#include "core/error.h"
#include "core/file.h"
#include "core/rng.h"
#include "hash/sha256.h"

namespace espalier::data {

Corpus load_corpus(const std::string& path, const text::Tokenizer& tokenizer) {
  const std::string content = core::read_text_file(path);
  ESP_CHECK(!content.empty(), input, path, ": the file is empty");
  Corpus corpus{path, hash::sha256(content), tokenizer.encode(content, /*add_special=*/false)};
  ESP_CHECK(!corpus.tokens.empty(), input, path, ": the text has no tokens");
  return corpus;
}

WindowSampler::WindowSampler(std::int64_t n_tokens, std::int64_t sequence, std::uint64_t seed)
    : n_tokens_(n_tokens), sequence_(sequence), per_epoch_(0), seed_(seed) {
  ESP_CHECK(sequence > 0, usage, "windows of ", sequence, " tokens");
  ESP_CHECK(n_tokens >= sequence, input, "the text has ", n_tokens, " tokens, fewer than one window of ", sequence,
            "; give more text or a shorter sequence");
  // The offset of an epoch costs at most one window; every epoch has the same number of windows.
  per_epoch_ = n_tokens == sequence ? 1 : std::max<std::int64_t>(1, (n_tokens - sequence + 1) / sequence);
}

std::int64_t WindowSampler::windows_per_epoch() const { return per_epoch_; }

namespace {

// Permutation of [0, n) by a four-round Feistel network over the next even power of two, walking the cycle until inside: any index can
// be asked for without building a table (Luby, Rackoff 1988; cycle walking: Black, Rogaway 2002).
std::uint64_t permute(std::uint64_t index, std::uint64_t n, const core::Rng& keys) {
  int half = 1;
  while ((std::uint64_t{1} << (2 * half)) < n) ++half;
  const std::uint64_t mask = (std::uint64_t{1} << half) - 1;
  std::uint64_t x = index;
  do {
    std::uint64_t left = x >> half, right = x & mask;
    for (std::uint64_t round = 0; round < 4; ++round) {
      const std::uint64_t next = left ^ (keys.at((round << 32) | right) & mask);
      left = right;
      right = next;
    }
    x = (left << half) | right;
  } while (x >= n);
  return x;
}

}  // namespace

std::int64_t WindowSampler::start(std::int64_t window_index) const {
  ESP_CHECK(window_index >= 0, internal, "window ", window_index);
  const std::int64_t epoch = window_index / per_epoch_, place = window_index % per_epoch_;
  const std::int64_t room = std::min(sequence_, n_tokens_ - per_epoch_ * sequence_ + 1);  // offsets that fit
  const core::Rng offsets(seed_, 0);
  const auto offset = static_cast<std::int64_t>(offsets.at(static_cast<std::uint64_t>(epoch)) % static_cast<std::uint64_t>(room));
  const core::Rng keys(seed_, 1 + static_cast<std::uint64_t>(epoch));
  const auto chosen = static_cast<std::int64_t>(permute(static_cast<std::uint64_t>(place), static_cast<std::uint64_t>(per_epoch_), keys));
  return offset + chosen * sequence_;
}

}  // namespace espalier::data
