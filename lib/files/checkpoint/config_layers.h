// SPDX-License-Identifier: Apache-2.0
// Families whose config.json has sizes for every layer: reading and writing those keys.
#pragma once
#include <nlohmann/json.hpp>

#include "arch/arch.h"
#include "checkpoint/config_reader.h"

namespace espalier::checkpoint {

// Llama's keys were read: every layer has `dims.layers.front()`'s sizes until block_configs, or
// num_key_value_heads_per_layer, say otherwise.
void parse_deci_layers(ConfigReader& config, Problems& problems, arch::ModelDims& dims,
                       std::int64_t heads);
void set_deci_layers(nlohmann::ordered_json& config, const arch::ModelDims& dims);

// All sizes and traits of OpenELM, whose keys are its own.
arch::ModelDims parse_openelm(ConfigReader& config, Problems& problems, const arch::Arch& arch);
void set_openelm(nlohmann::ordered_json& config, const arch::ModelDims& dims);

}  // namespace espalier::checkpoint
