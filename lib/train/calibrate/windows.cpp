// SPDX-License-Identifier: Apache-2.0
// Draws calibration windows as tensors.
#include "calibrate/windows.h"

namespace espalier::calibrate {

using torch::Tensor;

Tensor draw_windows(const data::Corpus& corpus, const CalibrateOptions& options,
                    std::int64_t vocab) {
  return torch::tensor(
             data::calibration_ids(corpus, options.tokens, options.sequence, options.seed, vocab))
      .view({-1, options.sequence});
}

}  // namespace espalier::calibrate
