// SPDX-License-Identifier: Apache-2.0
// A window of text fits into the positions that a model was made for. Beyond them rotary models
// compute numbers that mean nothing.
#pragma once
#include <cstdint>
#include <string>

#include "arch/dims.h"
#include "core/error.h"

namespace espalier::arch {

// Error(usage) when a window of `length` tokens, given by `flag`, is longer than the context of
// `model`.
inline void require_positions(const ModelDims& dims, std::int64_t length, const std::string& flag,
                              const std::string& model) {
  ESP_CHECK(length <= dims.positions, usage, flag, " ", length, ": ", model, " supports at most ",
            dims.positions, " positions; give ", flag, " ", dims.positions, " or less");
}

}  // namespace espalier::arch
