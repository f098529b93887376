// SPDX-License-Identifier: Apache-2.0
// The factors that files may state: the key of GGUF after "<arch>.", the member that names the key
// of config.json, and the value. A family states those whose key it names. Absent, they are 1 in
// config.json. In GGUF they are neutral then.
#pragma once
#include "arch/arch.h"

namespace espalier::arch {

struct Factor {
  std::string_view gguf;
  std::string_view ConfigKeys::* config;
  double ModelDims::* value;

  bool stated_by(const Arch& arch) const { return !(arch.keys.*config).empty(); }
  double of(const ModelDims& dims) const {
    return dims.*value > 0 ? dims.*value : attention_scale(dims);
  }
};

inline constexpr Factor kFactors[] = {
    {"embedding_scale", &ConfigKeys::embedding_factor, &ModelDims::embedding_factor},
    {"attention.scale", &ConfigKeys::attention_factor, &ModelDims::attention_scale},
    {"residual_scale", &ConfigKeys::residual_factor, &ModelDims::residual_factor},
    {"logit_scale", &ConfigKeys::logit_divisor, &ModelDims::logit_divisor},
};

}  // namespace espalier::arch
