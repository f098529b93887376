// SPDX-License-Identifier: Apache-2.0
// Tokens that end a text, as generation_config.json names them.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace espalier::checkpoint {

// "eos_token_id", a number or a list. Empty where the text is no JSON object or names none.
std::vector<std::int64_t> end_tokens_of(const std::string& generation_config);

}  // namespace espalier::checkpoint
