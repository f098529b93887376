// SPDX-License-Identifier: Apache-2.0
// Checks the gates of a device card. Internal to lib/pipeline/verify.
#pragma once
#include <nlohmann/json.hpp>

namespace espalier::verify {

// Returns one entry per gate: {gate, limit, value, passed}. A gate fails when the card lacks its
// value. Clears `passed` when a gate fails.
// Error(input) for a gate that is unknown or has no number.
nlohmann::ordered_json check_gates(const nlohmann::json& gates, const nlohmann::ordered_json& card,
                                   bool& passed);

}  // namespace espalier::verify
