// SPDX-License-Identifier: Apache-2.0
// GGUF files of Llama 3.1 and later carry the scaled frequencies as a tensor and not the parameters
// they came from.
#pragma once
#include <optional>
#include <span>

#include "arch/arch.h"

namespace espalier::checkpoint {

// Whether `scaling` gives these factors (head_dim / 2 of them) for the theta and head_dim of
// `dims`. Converters compute them in float32, arch:: in double: for the Llama 3 parameters the two
// differ by up to 2.8e-7, relative. 1e-6 is allowed: it moves no rotation of a scaled frequency by
// more than 3e-5 rad within the original context.
bool regenerates(const arch::ModelDims& dims, const arch::RopeScaling& scaling,
                 std::span<const float> factors);

// The scaling that gives `factors`; nullopt when none of the known parameter sets does.
std::optional<arch::RopeScaling> recover_rope_scaling(const arch::ModelDims& dims,
                                                      std::span<const float> factors);

}  // namespace espalier::checkpoint
