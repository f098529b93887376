// SPDX-License-Identifier: Apache-2.0
// Knowledge distillation. The teacher is in the same process, or its sparse logits are on disk
// (logit_cache.h).
//
// The loss is a sum of terms (planned_terms.h). Those of logits are computed in chunks of tokens,
// so that [tokens, vocab] never exists for either model.
//
// Training uses AdamW, warm-up and a schedule (schedule.h), clipping, accumulation, and atomic
// checkpoints. A run that is killed at any moment and resumed gives the same final bytes as an
// uninterrupted run.
#pragma once
#include <cstdint>
#include <functional>
#include <string>

#include "checkpoint/checkpoint.h"
#include "core/progress.h"
#include "distill/options.h"
#include "text/documents.h"

namespace espalier::distill {

struct TrainInput {
  // Paths. Without a teacher: cross-entropy only (continued training).
  std::string teacher, student, text;
  // Instead of a teacher: the output of cache_logits() on this text.
  std::string cached;
  // Not empty: refuse training text that overlaps it.
  std::string held_out;
  text::Reading reading = {};
  std::string out;
  // Continue from out/checkpoint. Start from the beginning when there is none. Do nothing when
  // `out` is finished.
  bool resume = false;
  bool or_start_over = false;  // checkpoint/work_folder.h
  // 0: as in the checkpoint, else LibTorch's default.
  int threads = 0;
};
struct TrainResult {
  std::int64_t steps = 0, tokens = 0;
  double loss_first = 0, loss_last = 0;  // per scored token, at the first and the last step
  double tokens_per_second = 0;          // median over the steps
  std::int64_t peak_rss_bytes = 0;
};

// Writes `out`: the student as a Hugging Face directory (float32), metrics.jsonl (metrics.h)
// and manifest.json. While running,
// out/checkpoint/ holds the state to resume from. Without `resume`, any run in `out` starts over.
TrainResult distill(const TrainInput& input, const TrainOptions& options,
                    const core::Progress& progress);

// Peak memory of a training, predicted: teacher weights, student weights with gradient and two
// moments, and the activations kept for the backward pass. Also what terms add: states of layers,
// and extras that are trained. 0 teacher parameters: no teacher. teacher_hidden is its hidden size;
// 0: as the student's. Error(usage) when the options do not name terms.
std::int64_t peak_memory(const arch::Arch& arch, const arch::ModelDims& student,
                         std::int64_t teacher_parameters, const TrainOptions& options,
                         std::int64_t teacher_hidden = 0);

// Whether a term of the objective compares with a teacher. Error(usage) when the options do not
// name terms, or contradict each other.
bool reads_teacher(const TrainOptions& options);

// Error(usage) for an option that the schedule does not read.
void check_schedule(const TrainOptions& options);
// Error(usage) for a term that cached logits, the `k` likeliest of each distribution at `path`, do
// not determine.
void require_cacheable(const TrainOptions& options, const std::string& path, std::int64_t k);

// The number of windows of one forward and backward pass.
std::int64_t windows_at_once(const TrainOptions& options);

}  // namespace espalier::distill
