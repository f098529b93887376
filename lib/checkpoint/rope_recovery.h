// GGUF files of Llama 3.1 and later carry the scaled frequencies as a tensor and not the parameters they came from.
#pragma once
#include <optional>
#include <span>

#include "arch/arch.h"

namespace espalier::checkpoint {

// Whether `scaling` gives these factors (head_dim / 2 of them) for the theta and head_dim of `dims`. Converters compute them in
// float32, arch:: in double: they may differ by that rounding (4e-6, relative), which moves no rotation by more than 1e-4 rad within
// the original context.
bool regenerates(const arch::ModelDims& dims, const arch::RopeScaling& scaling, std::span<const float> factors);

// The scaling that gives `factors`; nullopt when none of the known parameter sets does.
std::optional<arch::RopeScaling> recover_rope_scaling(const arch::ModelDims& dims, std::span<const float> factors);

}  // namespace espalier::checkpoint
