// SPDX-License-Identifier: Apache-2.0
// Knowledge distillation: teacher and student in one process, or the teacher's sparse logits from
// disk (logit_cache.h); loss = kl_weight * divergence(teacher, student) + ce_weight *
// cross-entropy, computed in chunks of tokens so that [tokens, vocab] never exists for either
// model; AdamW; warm-up + cosine; clipping; accumulation; atomic checkpoints. A run killed at any
// moment and resumed gives the same final bytes as one left alone.
#pragma once
#include <cstdint>
#include <functional>
#include <string>

#include "checkpoint/checkpoint.h"
#include "core/progress.h"

namespace espalier::distill {

struct TrainOptions {
  std::int64_t tokens = 0;  // to train on in total (rounded up to whole steps)
  std::int64_t batch = 4, sequence = 512, accumulation = 1;
  double learning_rate = 3e-4, final_learning_rate_ratio = 0.1, warmup_ratio = 0.05;
  double beta1 = 0.9, beta2 = 0.95, epsilon = 1e-8, weight_decay = 0.0,
         clip_norm = 1.0;  // decay: matrices only; clip_norm 0: none
  double kl_weight = 0.5, ce_weight = 0.5, temperature = 1.0;
  std::string loss = "forward_kl";  // a name of losses.inc
  std::uint64_t seed = 0;
  std::int64_t checkpoint_every = 25;  // optimizer steps
  std::string precision = "auto";      // auto | float32 | bfloat16 matmuls
  std::int64_t tokens_at_once = 512;   // of a pass forward and back (whole windows, at least one):
                                       // activations of so many tokens are kept. More is no faster.
  std::int64_t vocab_chunk =
      0;  // tokens whose logits over the vocabulary exist at a time; 0: chosen
  bool train_embeddings = true;  // false: token_embd (and a tied output) stays as it is
};

struct TrainInput {
  std::string teacher, student,
      text;              // paths; teacher "" = cross-entropy only (continued training)
  std::string cached;    // instead of a teacher: what cache_logits() made of one on this text
  std::string held_out;  // not empty: refused when it overlaps the training text
  std::string out;
  bool resume = false;  // go on from out/checkpoint; from the start when there is none; nothing to
                        // do when `out` is finished
  int threads = 0;      // 0: what the checkpoint was made with, else LibTorch's default
};
struct TrainResult {
  std::int64_t steps = 0, tokens = 0;
  double loss_first = 0, loss_last = 0;  // per scored token, of the first and the last step
  double tokens_per_second = 0;          // median over the steps
  std::int64_t peak_rss_bytes = 0;
};

// Writes `out`: the student as a Hugging Face directory (float32), metrics.jsonl (step, tokens,
// loss, kl, ce, learning_rate, grad_norm, tokens_per_second), manifest.json. While running,
// out/checkpoint/ holds the state to resume from. Without `resume` an unfinished or finished run in
// `out` is started over.
TrainResult distill(const TrainInput& input, const TrainOptions& options,
                    const core::Progress& progress);

// Windows of one pass forward and back.
std::int64_t windows_at_once(const TrainOptions& options);

// Options from a YAML or recipe fragment are validated by lib/recipe; names and defaults live here.

}  // namespace espalier::distill
