// SPDX-License-Identifier: Apache-2.0
// The keys of config.json about rotary embedding: base, Llama 3's scaling, linear scaling,
// LongRoPE, and the rotated share of a head. Key styles: transformers 4 (rope_theta, rope_scaling,
// partial_rotary_factor) and 5 (rope_parameters).
#pragma once
#include "arch/arch.h"
#include "checkpoint/config_reader.h"

namespace espalier::checkpoint {

// Call it after the sizes are read. Families with learned positions have no rotation; rotary keys
// are then unknown keys.
void parse_rope(ConfigReader& config, Problems& problems, const arch::Arch& arch,
                arch::ModelDims& dims);

}  // namespace espalier::checkpoint
