// SPDX-License-Identifier: Apache-2.0
// Rounds a whole model layer by layer, so that every matrix compensates for the rounding before it
// (cf. GPTAQ: Li, Yin, Xing, Panda 2025, arXiv 2504.02692). Two streams of calibration text pass
// through the model. One is exact. The other passes through the layers rounded so far.
//
//   q, k, v, gate, up:
//     W' = argmin sum_t || W a_t - W' b_t ||^2 + lambda || W' - W ||^2
//   attn_output, ffn_down:
//     W' = argmin sum_t || d_t - u_t - W' b_t ||^2 / rms(d_t)^2 + lambda || W' - W ||^2
//
//   a: exact input of the matrix      b: its input in the rounded stream
//   d: exact stream after the block   u: rounded stream before the block
//
// So a block also undoes errors that earlier blocks left in the stream. GPTQ then rounds W' with
// the second moments of b. The weight 1 / rms(d)^2 is that of the norm that reads the stream.
//
// Memory: the model, both streams, and one layer's activations of all calibration tokens, 4 *
// tokens * (4 H + F) bytes.
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
  // `imatrix` holds statistics with second moments. The output matrix (or tied token_embd) is
  // rounded with its own statistics.
  SequentialRounding(const checkpoint::Checkpoint& source, const plan::QuantPlan& plan,
                     const quant::Imatrix& imatrix, const data::Corpus& corpus,
                     const CalibrateOptions& options, int threads);
  ~SequentialRounding();
  SequentialRounding(const SequentialRounding&) = delete;
  SequentialRounding& operator=(const SequentialRounding&) = delete;

  // The bytes of the matrix in the plan's format, with rows in the order of the source. Empty for a
  // matrix outside the layers that `imatrix` lacks. Call it once per matrix, in the order of
  // arch::tensors().
  std::optional<std::vector<std::byte>> rounded(arch::Role role, int layer);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace espalier::calibrate
