// SPDX-License-Identifier: Apache-2.0
// Ids of special tokens that config.json and generation_config.json state: eos_token_id,
// bos_token_id, pad_token_id and others. A file states one id, a list of them, or null.
#pragma once
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "checkpoint/problems.h"

namespace espalier::checkpoint {

// eos_token_id of the text of a file. Empty without one, and for a file that is no JSON object.
std::vector<std::int64_t> end_tokens_of(const std::string& config);

// A problem for each stated id that is none of `vocab` tokens. -1 means none, as in some published
// files.
void check_stated_tokens(const nlohmann::json& config, std::int64_t vocab, Problems& problems);

}  // namespace espalier::checkpoint
