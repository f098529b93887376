// SPDX-License-Identifier: Apache-2.0
// Rounds a whole model layer by layer, so that every matrix compensates for the rounding before it
// (cf. GPTAQ: Li, Yin, Xing, Panda 2025, arXiv 2504.02692). The rounded model follows the exact one
// (layerwise/follow.h), so a block also undoes errors that earlier blocks left in the stream. GPTQ
// then rounds each refitted matrix with the second moments of what it reads.
#pragma once
#include <cstddef>
#include <memory>
#include <optional>
#include <vector>

#include "calibrate/calibrate.h"
#include "checkpoint/checkpoint.h"
#include "data/mixture.h"
#include "plan/quant_plan.h"
#include "quant/imatrix.h"

namespace espalier::calibrate {

class SequentialRounding {
 public:
  // `imatrix` holds second moments of the output matrix (or tied token_embd), which is rounded with
  // them, by `work.threads` threads. A killed run goes on with the same bytes where `work` names a
  // folder; the caller removes that. Precision auto is float32 for fine formats (quant::kFineBits).
  SequentialRounding(const checkpoint::Checkpoint& source, const plan::QuantPlan& plan,
                     const quant::Imatrix& imatrix, const data::Mixture& texts,
                     const text::CalibrationOptions& options, const checkpoint::WorkOptions& work);
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
