// SPDX-License-Identifier: Apache-2.0
// Recovers the parameters of Llama 3's RoPE scaling. GGUF files of Llama 3.1 and later carry the
// scaled frequencies as a tensor, not the parameters.
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

// The scaling that gives `factors`. nullopt when no known parameter set does.
std::optional<arch::RopeScaling> recover_rope_scaling(const arch::ModelDims& dims,
                                                      std::span<const float> factors);

}  // namespace espalier::checkpoint
