// SPDX-License-Identifier: Apache-2.0
// The values of described options as JSON: what a manifest records, and what identifies a result.
#pragma once
#include <nlohmann/json.hpp>

#include "options/option.h"

namespace espalier::options {

// In the order of the list, without what decides nothing. Null: not given.
nlohmann::ordered_json json_of(const List& list);

}  // namespace espalier::options
