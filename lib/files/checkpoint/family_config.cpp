// SPDX-License-Identifier: Apache-2.0
// The list of families with their own config.json.
#include "checkpoint/family_config.h"

namespace espalier::checkpoint {

#define ESP_FAMILY_CONFIG(name) extern const FamilyConfig k_config_##name;
#include "checkpoint/families.inc"
#undef ESP_FAMILY_CONFIG

const FamilyConfig* family_config(const arch::Arch& arch) {
  static const FamilyConfig* const list[] = {
#define ESP_FAMILY_CONFIG(name) &k_config_##name,
#include "checkpoint/families.inc"
#undef ESP_FAMILY_CONFIG
  };
  for (const FamilyConfig* config : list)
    if (config->family == arch.name) return config;
  return nullptr;
}

}  // namespace espalier::checkpoint
