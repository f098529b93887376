// SPDX-License-Identifier: Apache-2.0
// Principal directions of the stream: the model is turned first (rotation.h), so that its channels
// are the eigenvectors of E[ x x^T / rms(x)^2 ] by falling eigenvalue. Then the first ones stay.
// Ashkboos et al. 2024 (SliceGPT), arXiv 2401.15024, with one rotation for the whole model.
#include "prune/criteria/common.h"

namespace espalier::prune {
namespace pca {

// Of the turned model.
std::vector<double> score(const CriterionInput& input, arch::Axis, int) {
  const std::int64_t n = input.model.dims().hidden;
  std::vector<double> out;
  for (std::int64_t i = 0; i < n; ++i) out.push_back(static_cast<double>(n - i));
  return out;
}

}  // namespace pca

extern const Criterion k_pca;
const Criterion k_pca{.name = "pca",
                      .source =
                          "principal directions of the stream, one rotation for the whole "
                          "model (SliceGPT, arXiv 2401.15024)",
                      .needs = {},
                      .scope = Scope::layer,
                      .axes = {arch::Axis::hidden},
                      .score = pca::score,
                      .turns = true};

}  // namespace espalier::prune
