// SPDX-License-Identifier: Apache-2.0
// Searches the known parameter sets for the one that gives the factors of a file.
#include "checkpoint/rope_recovery.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace espalier::checkpoint {

bool regenerates(const arch::ModelDims& dims, const arch::RopeScaling& scaling,
                 std::span<const float> factors) {
  constexpr double kTolerance = 1e-6;
  arch::ModelDims scaled = dims;
  scaled.rope_scaling = scaling;
  std::vector<float> ours = arch::rope_frequency_factors(scaled);
  if (ours.empty()) ours.assign(factors.size(), 1.0f);  // factor 1: no scaling
  if (ours.size() != factors.size()) return false;
  for (std::size_t i = 0; i < ours.size(); ++i) {
    const double a = static_cast<double>(ours[i]), b = static_cast<double>(factors[i]);
    if (!(std::fabs(a - b) <= kTolerance * a)) return false;  // also refuses NaN
  }
  return true;
}

std::optional<arch::RopeScaling> recover_rope_scaling(const arch::ModelDims& dims,
                                                      std::span<const float> factors) {
  if (factors.empty()) return std::nullopt;
  // The lowest frequency is divided by the full factor. The remaining parameters are those of every
  // released Llama 3 model.
  const double factor = static_cast<double>(*std::max_element(factors.begin(), factors.end()));
  if (!std::isfinite(factor) || factor < 1) return std::nullopt;
  const arch::RopeScaling llama3{factor, 1, 4, 8192};
  if (regenerates(dims, llama3, factors)) return llama3;
  return std::nullopt;
}

}  // namespace espalier::checkpoint
