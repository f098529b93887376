// SPDX-License-Identifier: Apache-2.0
// Text files -> token streams -> windows for training and calibration. Also the check that training
// text contains no held-out text.
#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/progress.h"
#include "text/calibration.h"
#include "text/tokenizer.h"
#include "text/windows.h"

namespace espalier::data {

struct Corpus {
  std::string path, sha256;          // hash of the text
  std::vector<std::int32_t> tokens;  // the whole text, tokenized once, without BOS and EOS around
  std::optional<std::int32_t> bos =
      {};  // over the first token of each window, if the model adds it
  // What was read differently than the letters of the file (text::describe_reading); may be empty.
  std::string reading = {};

  // The window of out.size() tokens at `start`, as the model reads it (text/windows.h).
  void read_window(std::int64_t start, std::span<std::int64_t> out) const {
    text::read_window(tokens, bos, start, out);
  }
};
// `progress` is told once how many tokens there are and whether windows begin with BOS.
Corpus load_corpus(const std::string& path, const text::Tokenizer& tokenizer,
                   const core::Progress& progress = {}, const text::Reading& reading = {});
// SHA-256 of a text: of the file, or of names and contents of a directory.
std::string text_sha256(const std::string& path);
// The option under which manifests name that BOS; absent where the model adds none.
inline constexpr const char* kWindowBos = "window_bos";
// The option under which manifests say what Corpus::reading does; absent where that is empty.
inline constexpr const char* kTextReading = "text_reading";
// Error(input) unless all ids, and BOS, lie in [0, vocab).
void require_vocabulary(const Corpus& corpus, std::int64_t vocab);

// Windows in a fixed pseudo-random order. Windows of `sequence` tokens start at multiples of
// `sequence`, shifted by an offset per epoch. Their order is a seeded permutation per epoch. Window
// i is a pure function of (seed, i), so a resumed run reads the same data.
class WindowSampler {
 public:
  // Error(input) when the text is shorter than one window.
  WindowSampler(std::int64_t n_tokens, std::int64_t sequence, std::uint64_t seed);
  // The token offset of the i-th window.
  std::int64_t start(std::int64_t window_index) const;
  // The same permutations read backwards. Training reads in this order, so the windows that
  // calibration drew from the front come last.
  std::int64_t start_from_end(std::int64_t window_index) const;
  std::int64_t windows_per_epoch() const;

 private:
  std::int64_t n_tokens_, sequence_, per_epoch_;
  std::uint64_t seed_;
};

// The token ids of the calibration windows, concatenated. These are whole windows of `sequence`
// tokens, as many as `tokens` and the text allow, drawn with the seed. BOS stands over the first
// token of each, if the model adds it. Error(input) for a text shorter than a window, or tokenized
// for another model (an id outside [0, vocab)).
std::vector<std::int64_t> calibration_ids(const Corpus& corpus,
                                          const text::CalibrationOptions& options,
                                          std::int64_t vocab);

// Held-out text that also occurs in training text. It counts runs of at least `n` consecutive
// common tokens (rolling hash, confirmed by comparison). `tokens` is the number of held-out tokens
// covered by such runs. `example` is for the message.
struct Overlap {
  std::int64_t tokens = 0;
  std::string example;
};
Overlap find_overlap(const Corpus& train, const Corpus& held_out, const text::Tokenizer& tokenizer,
                     std::int64_t n = 48);
// Throws Error(check_failed) when the texts overlap.
void require_disjoint(const Corpus& train, const Corpus& held_out, const text::Tokenizer& tokenizer,
                      std::int64_t n = 48);

}  // namespace espalier::data
