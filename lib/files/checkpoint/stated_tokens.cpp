// SPDX-License-Identifier: Apache-2.0
// Reads and checks the ids of special tokens.
#include "checkpoint/stated_tokens.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "checkpoint/config_reader.h"

namespace espalier::checkpoint {
namespace {

constexpr const char* kTokenKeys[] = {
    "bos_token_id",        "eos_token_id",       "pad_token_id",  "unk_token_id",
    "sep_token_id",        "cls_token_id",       "mask_token_id", "decoder_start_token_id",
    "forced_bos_token_id", "forced_eos_token_id"};

}  // namespace

std::vector<std::int64_t> end_tokens_of(const std::string& config) {
  const auto json = nlohmann::json::parse(config, nullptr, false);
  std::vector<std::int64_t> out;
  if (!json.is_object() || !json.contains("eos_token_id")) return out;
  const nlohmann::json& stated = json["eos_token_id"];
  for (const auto& id : stated.is_array() ? stated : nlohmann::json::array({stated}))
    if (id.is_number_integer() && id >= 0) out.push_back(id.get<std::int64_t>());
  return out;
}

void check_stated_tokens(const nlohmann::json& config, std::int64_t vocab, Problems& problems) {
  const auto check = [&](const char* key, const nlohmann::json& id) {
    const double value = id.is_number() ? id.get<double>() : std::nan("");
    if (!(value >= -1) || value != std::floor(value) || value >= static_cast<double>(vocab))
      problems.input("key \"", key, "\" is ", ConfigReader::shown(id),
                     id.is_number() ? ", outside" : ", expected the id of a token in",
                     " the vocabulary of ", vocab, " tokens");
  };
  for (const char* key : kTokenKeys) {
    const auto found = config.find(key);
    if (found == config.end() || found->is_null()) continue;
    if (!found->is_array())
      check(key, *found);
    else
      for (const nlohmann::json& id : *found) check(key, id);
  }
}

}  // namespace espalier::checkpoint
