// SPDX-License-Identifier: Apache-2.0
// Values from JSON. Whole numbers beyond 64 bits are refused, since Python would keep them.
#pragma once
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "text/template/value.h"

namespace espalier::text::jinja {

// Error(input) naming `where` for a number or a size that cannot be held.
Value from_json(const nlohmann::ordered_json& json, const std::string& where);

}  // namespace espalier::text::jinja
