// SPDX-License-Identifier: Apache-2.0
// Families whose config.json has sizes for every layer: reading and writing those keys.
#pragma once
#include <nlohmann/json.hpp>

#include "arch/arch.h"
#include "checkpoint/config_reader.h"

namespace espalier::checkpoint {

// Expects that Llama's keys were read. Every layer has the sizes of dims.layers.front(), unless
// block_configs or num_key_value_heads_per_layer give others.
void parse_deci_layers(ConfigReader& config, Problems& problems, arch::ModelDims& dims,
                       std::int64_t heads);
void set_deci_layers(nlohmann::ordered_json& config, const arch::ModelDims& dims);

// All sizes and traits of OpenELM, which has its own keys.
inline bool is_openelm(const arch::Arch& arch) { return arch.keys.hidden == "model_dim"; }
arch::ModelDims parse_openelm(ConfigReader& config, Problems& problems, const arch::Arch& arch);
void set_openelm(nlohmann::ordered_json& config, const arch::ModelDims& dims);

}  // namespace espalier::checkpoint
