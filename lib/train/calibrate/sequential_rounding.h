// SPDX-License-Identifier: Apache-2.0
// Rounding of a whole model, layer by layer, in which every matrix knows what the rounding before
// it did (cf. GPTAQ: Li, Yin, Xing, Panda 2025, arXiv 2504.02692). Two streams of calibration text
// go through the model, one exact, one through the layers as rounded so far:
//   q, k, v, gate, up:  W' = argmin sum_t || W a_t - W' b_t ||^2 + lambda || W' - W ||^2      a: exact input, b: input as rounded
//   attn_output, down:  W' = argmin sum_t || d_t - u_t - W' b_t ||^2 / rms(d_t)^2 + lambda || W' - W ||^2
// with d the exact residual stream after the block and u the rounded one before it, so that a block
// also takes back what earlier ones did to the stream. W' is then rounded by GPTQ with the second
// moments of b. The weight 1 / rms(d)^2 is the one of the norm that reads the stream. Memory: the
// model, both streams, one layer's activations of all calibration tokens: 4 * tokens * (4 H + F)
// bytes.
#pragma once
#include <cstddef>
#include <memory>
#include <optional>
#include <vector>

#include "calibrate/calibrate.h"
#include "checkpoint/checkpoint.h"
#include "data/corpus.h"
#include "plan/quant_plan.h"
#include "quant/imatrix.h"

namespace espalier::calibrate {

class SequentialRounding {
 public:
  // `imatrix`: statistics with second moments; the output matrix (or tied token_embd) is rounded
  // with its own.
  SequentialRounding(const checkpoint::Checkpoint& source, const plan::QuantPlan& plan,
                     const quant::Imatrix& imatrix, const data::Corpus& corpus,
                     const CalibrateOptions& options, int threads);
  ~SequentialRounding();
  SequentialRounding(const SequentialRounding&) = delete;
  SequentialRounding& operator=(const SequentialRounding&) = delete;

  // The matrix's bytes in the plan's format, rows in the order of the source; nothing for a matrix
  // outside the layers that `imatrix` does not have. To be asked for in the order of
  // arch::tensors(), each once.
  std::optional<std::vector<std::byte>> rounded(arch::Role role, int layer);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace espalier::calibrate
