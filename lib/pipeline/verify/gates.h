// SPDX-License-Identifier: Apache-2.0
// Internal to lib/pipeline/verify.
#pragma once
#include <nlohmann/json.hpp>

namespace espalier::verify {

// One entry per gate {gate, limit, value, passed}; a value the card does not have fails its gate.
// Clears `passed` when one fails.
nlohmann::ordered_json check_gates(const nlohmann::json& gates, const nlohmann::ordered_json& card,
                                   bool& passed);

}  // namespace espalier::verify
