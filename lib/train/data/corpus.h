// SPDX-License-Identifier: Apache-2.0
// Text files -> token streams -> windows for training and calibration, and the check that held-out
// text is not among them.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "text/tokenizer.h"

namespace espalier::data {

struct Corpus {
  std::string path, sha256;          // of the text
  std::vector<std::int32_t> tokens;  // the whole text, tokenized once, no special tokens added
};
Corpus load_corpus(const std::string& path, const text::Tokenizer& tokenizer);

// Batches in a fixed pseudo-random order: windows of `sequence` tokens start at multiples of
// `sequence` shifted by a per-epoch offset; the order of windows is a seeded permutation per epoch.
// Window i is a pure function of (seed, i), so a resumed run sees the same data.
class WindowSampler {
 public:
  WindowSampler(std::int64_t n_tokens, std::int64_t sequence,
                std::uint64_t seed);                    // Error(input) when there is not one window
  std::int64_t start(std::int64_t window_index) const;  // token offset of the i-th window drawn
  // The same permutations read backwards: training draws so, and meets the windows that calibration
  // drew from the front last.
  std::int64_t start_from_end(std::int64_t window_index) const;
  std::int64_t windows_per_epoch() const;

 private:
  std::int64_t n_tokens_, sequence_, per_epoch_;
  std::uint64_t seed_;
};

// The windows that calibration reads, one behind the other: as many whole ones of `sequence` tokens
// as `tokens` and the text allow, drawn with the seed. Error(input) for a text shorter than a
// window or tokenized for another model (an id outside [0, vocab)).
std::vector<std::int64_t> calibration_ids(const Corpus& corpus, std::int64_t tokens,
                                          std::int64_t sequence, std::uint64_t seed,
                                          std::int64_t vocab);

// Held-out text that also occurs in training text: any run of `n` consecutive tokens in common
// (rolling hash, confirmed by comparison), not counting runs shorter. Returns the number of
// held-out tokens covered by such runs and an example for the message.
struct Overlap {
  std::int64_t tokens = 0;
  std::string example;
};
Overlap find_overlap(const Corpus& train, const Corpus& held_out, const text::Tokenizer& tokenizer,
                     std::int64_t n = 48);
// Throws Error(check_failed) when they overlap.
void require_disjoint(const Corpus& train, const Corpus& held_out, const text::Tokenizer& tokenizer,
                      std::int64_t n = 48);

}  // namespace espalier::data
