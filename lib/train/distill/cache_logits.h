// SPDX-License-Identifier: Apache-2.0
// `espalier cache`: a teacher reads a text once and writes its sparse logits, so that students
// train without the teacher in memory (logit_cache.h).
//
// The teacher may be larger than memory. The hidden states of a chunk of windows pass through it
// one layer at a time, then through the matrix of the vocabulary in blocks. Memory: one layer, and
// `buffer_bytes` for the chunk's states and its kept logits. The division of a text into chunks
// does not change a bit of the result.
#pragma once
#include <cstdint>
#include <string>

#include "arch/arch.h"
#include "core/progress.h"
#include "text/calibration.h"
#include "text/documents.h"

namespace espalier::distill {

struct CacheOptions {
  // Tokens of the text, in the order in which training draws windows, rounded up to whole windows.
  // 0: all.
  std::int64_t tokens = 0;
  std::int64_t sequence = 512, top_k = 64;
  std::uint64_t seed = 0;
  double temperature = 1;  // temperature of the distributions; training must use the same
  int value_bytes = 2;     // bytes of a log-probability: 2 (F16) or 4 (F32)
  std::int64_t buffer_bytes = std::int64_t{512} << 20;
  std::int64_t file_tokens = 131072;  // tokens of one file; a killed run loses at most these
  std::int64_t batch_tokens = text::kBatchTokens;  // that go through a layer at a time
};
struct CacheInput {
  std::string teacher, text, out;
  // Keep the complete files of an earlier run with the same inputs and options.
  bool resume = false;
  int threads = 0;  // 0: as in those files, else LibTorch's default
  text::Reading reading = {};
  bool or_start_over = false;  // checkpoint/work_folder.h
  // Not empty: a student whose vocabulary is a part of the teacher's. The logits are over that
  // part, and the text is read with its tokenizer.
  std::string student = {};
};
struct CacheResult {
  std::int64_t tokens = 0;  // tokens in the cache
  double bytes_per_token = 0;
  double tokens_per_second = 0;  // speed of this run; 0 when nothing was left to do
};
// Writes out/logits-*.bin, each whole by rename, and last out/manifest.json. A run that is killed
// at any moment and resumed leaves the same bytes.
CacheResult cache_logits(const CacheInput& input, const CacheOptions& options,
                         const core::Progress& progress);

// The number of tokens whose hidden states are kept at a time.
std::int64_t cache_chunk_tokens(const arch::ModelDims& dims, const CacheOptions& options);
std::int64_t cache_memory(const arch::Arch& arch, const arch::ModelDims& dims,
                          const CacheOptions& options);

}  // namespace espalier::distill
