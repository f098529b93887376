// SPDX-License-Identifier: Apache-2.0
// The keys of config.json about rotary embedding: base, Llama 3's scaling, linear scaling,
// LongRoPE, how much of a head is turned. Key styles: transformers 4 (rope_theta, rope_scaling,
// partial_rotary_factor) and 5 (rope_parameters).
#pragma once
#include "arch/arch.h"
#include "checkpoint/config_reader.h"

namespace espalier::checkpoint {

// After the sizes. Layers of a family with learned positions get none by rotation; its keys are
// then unknown ones.
void parse_rope(ConfigReader& config, Problems& problems, const arch::Arch& arch,
                arch::ModelDims& dims);

}  // namespace espalier::checkpoint
