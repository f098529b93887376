// Knowledge distillation: teacher and student in one process; loss = kl_weight * KL(teacher || student) + ce_weight * cross-entropy,
// computed over the vocabulary in chunks so that [tokens, vocab] never exists for both models; AdamW; warm-up + cosine; clipping;
// accumulation; atomic checkpoints. A run killed at any moment and resumed gives the same final bytes as one left alone.
#pragma once
#include <cstdint>
#include <functional>
#include <string>

#include "checkpoint/checkpoint.h"
#include "core/progress.h"

namespace espalier::distill {

struct TrainOptions {
  std::int64_t tokens = 0;               // to train on in total (rounded up to whole steps)
  std::int64_t batch = 4, sequence = 512, accumulation = 1;
  double learning_rate = 3e-4, final_learning_rate_ratio = 0.1, warmup_ratio = 0.05;
  double beta1 = 0.9, beta2 = 0.95, epsilon = 1e-8, weight_decay = 0.0, clip_norm = 1.0;
  double kl_weight = 0.5, ce_weight = 0.5, temperature = 1.0;
  std::string loss = "forward_kl";       // a name of losses.inc
  std::uint64_t seed = 0;
  std::int64_t checkpoint_every = 25;    // optimizer steps
  std::string precision = "auto";        // auto | float32 | bfloat16 matmuls
  std::int64_t vocab_chunk = 0;          // 0: chosen
  bool train_embeddings = true;
};

struct TrainInput {
  std::string teacher, student, text;    // paths; teacher "" = cross-entropy only (continued training)
  std::string held_out;                  // not empty: refused when it overlaps the training text
  std::string out;
  bool resume = false;
  int threads = 0;
};
struct TrainResult {
  std::int64_t steps = 0, tokens = 0;
  double loss_first = 0, loss_last = 0, tokens_per_second = 0;
  std::int64_t peak_rss_bytes = 0;
};

// Writes `out`: the student as a Hugging Face directory, metrics.jsonl (step, tokens, loss, kl, ce, learning_rate, grad_norm,
// tokens_per_second), manifest.json. While running, out/checkpoint/ holds the state to resume from.
TrainResult distill(const TrainInput& input, const TrainOptions& options, const core::Progress& progress);

// Options from a YAML or recipe fragment are validated by lib/recipe; names and defaults live here.

}  // namespace espalier::distill
