// SPDX-License-Identifier: Apache-2.0
// Families whose config.json says in its own way what ConfigKeys (arch/arch.h) cannot name. Such a
// family has one file in families/ and one line in families.inc.
#pragma once
#include <nlohmann/json.hpp>
#include <string_view>

#include "arch/arch.h"
#include "checkpoint/config_reader.h"

namespace espalier::checkpoint {

struct FamilyConfig {
  std::string_view family;  // Arch::name

  // Reads all sizes and the rotation, and writes them, instead of the usual keys.
  arch::ModelDims (*read)(ConfigReader& config, Problems& problems,
                          const arch::Arch& arch) = nullptr;
  void (*write)(nlohmann::ordered_json& config, const arch::ModelDims& dims) = nullptr;

  // Or: reads the sizes of layers after the usual keys, and writes them. Before, every layer has
  // the usual keys' sizes. `heads` is the number that they state.
  void (*read_layers)(ConfigReader& config, Problems& problems, arch::ModelDims& dims,
                      std::int64_t heads) = nullptr;
  void (*write_layers)(nlohmann::ordered_json& config, const arch::ModelDims& dims) = nullptr;
  // Where config.json has this key, the usual key of the FFN may be absent.
  std::string_view layers_key = {};
};

// nullptr: the usual keys say all.
const FamilyConfig* family_config(const arch::Arch& arch);

}  // namespace espalier::checkpoint
