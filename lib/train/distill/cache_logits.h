// SPDX-License-Identifier: Apache-2.0
// `espalier cache`: a teacher reads a text once and leaves its sparse logits, so that students
// train without it in memory (logit_cache.h). The teacher may be larger than memory: the hidden
// states of a chunk of windows go through it one layer at a time, then through the matrix of the
// vocabulary in blocks. Memory: one layer, and `buffer_bytes` for the chunk's states and the logits
// kept of it. How a text is cut into chunks does not change a bit.
#pragma once
#include <cstdint>
#include <string>

#include "arch/arch.h"
#include "core/progress.h"

namespace espalier::distill {

struct CacheOptions {
  std::int64_t tokens = 0;  // of the text in the order in which training draws windows, rounded up
                            // to whole ones; 0: all
  std::int64_t sequence = 512, top_k = 64;
  std::uint64_t seed = 0;
  double temperature = 1;  // of the distributions; a training must have the same
  int value_bytes = 2;     // of a log-probability: 2 (F16) or 4 (F32)
  std::int64_t buffer_bytes = std::int64_t{512} << 20;
  std::int64_t file_tokens = 131072;  // of one file, which is what a killed run loses at most
};
struct CacheInput {
  std::string teacher, text, out;
  bool resume =
      false;  // keep the whole files that an earlier run with the same inputs and options has left
  int threads = 0;  // 0: what those were computed with, else LibTorch's default
};
struct CacheResult {
  std::int64_t tokens = 0;  // in the cache
  double bytes_per_token = 0;
  double tokens_per_second = 0;  // of what this run computed; 0 when nothing was left to do
};
// Writes out/logits-*.bin, each whole by rename, and last out/manifest.json. Killed at any moment
// and resumed it leaves the same bytes.
CacheResult cache_logits(const CacheInput& input, const CacheOptions& options,
                         const core::Progress& progress);

// Tokens whose hidden states are kept at a time.
std::int64_t cache_chunk_tokens(const arch::ModelDims& dims, const CacheOptions& options);

}  // namespace espalier::distill
