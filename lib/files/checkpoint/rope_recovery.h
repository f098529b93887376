// SPDX-License-Identifier: Apache-2.0
// Recovers a RoPE scaling from the divisors of the frequencies. GGUF files of Llama 3.1 and later
// carry those as a tensor, not the parameters.
#pragma once
#include <optional>
#include <span>

#include "arch/arch.h"

namespace espalier::checkpoint {

// Whether `scaling` gives these factors (head_dim / 2 of them) for the theta and head_dim of
// `dims`. Converters compute factors in float32, arch:: computes them in double. For the Llama 3
// parameters the two differ by up to 2.8e-7, relative.
//
// The tolerance is 1e-6. It moves no rotation of a scaled frequency by more than 3e-5 rad within
// the original context.
bool regenerates(const arch::ModelDims& dims, const arch::RopeScaling& scaling,
                 std::span<const float> factors);

// The scaling of Llama 3 that gives `factors`: with the parameters of the released models, or with
// those that follow from the factors. nullopt when none does.
//
// Factors fix only the ratio of original_positions and the two frequency factors, so that one of
// them is chosen. With x = 1 / wavelength, F the largest factor and f the factor of a frequency in
// between,
//
//   (1/f - 1/F) / (1 - 1/F) = s(x),   s(x) = (original_positions x - low) / (high - low),
//
// is a line. The two outermost frequencies on it give the parameters. Where fewer lie between, any
// line that reaches 0 and 1 before the next frequencies will do.
std::optional<arch::RopeScaling> recover_rope_scaling(const arch::ModelDims& dims,
                                                      std::span<const float> factors);

// The linear scaling that gives `factors`, which are equal then.
std::optional<double> recover_linear_scaling(std::span<const float> factors);

}  // namespace espalier::checkpoint
