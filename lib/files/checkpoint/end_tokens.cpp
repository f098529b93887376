// SPDX-License-Identifier: Apache-2.0
// Reads eos_token_id of generation_config.json.
#include "checkpoint/end_tokens.h"

#include <nlohmann/json.hpp>

namespace espalier::checkpoint {

std::vector<std::int64_t> end_tokens_of(const std::string& generation_config) {
  const auto config = nlohmann::ordered_json::parse(generation_config, nullptr, false);
  std::vector<std::int64_t> out;
  if (!config.is_object() || !config.contains("eos_token_id")) return out;
  const nlohmann::ordered_json& stated = config["eos_token_id"];
  if (stated.is_number_integer()) out.push_back(stated.get<std::int64_t>());
  if (stated.is_array())
    for (const auto& id : stated)
      if (id.is_number_integer()) out.push_back(id.get<std::int64_t>());
  return out;
}

}  // namespace espalier::checkpoint
