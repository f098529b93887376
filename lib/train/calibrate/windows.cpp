// SPDX-License-Identifier: Apache-2.0
// Draws calibration windows as tensors.
#include "calibrate/windows.h"

#include <algorithm>

namespace espalier::calibrate {

using torch::Tensor;

Tensor draw_windows(const data::Corpus& corpus, const CalibrateOptions& options,
                    std::int64_t vocab) {
  return torch::tensor(
             data::calibration_ids(corpus, options.tokens, options.sequence, options.seed, vocab))
      .view({-1, options.sequence});
}

std::vector<Tensor> split_batches(const Tensor& windows) {
  constexpr std::int64_t kBatchTokens = 4096;
  return windows.split(std::max<std::int64_t>(1, kBatchTokens / windows.size(1)));
}

}  // namespace espalier::calibrate
