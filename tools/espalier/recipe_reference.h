// SPDX-License-Identifier: Apache-2.0
// The keys of recipes as Markdown, from the stages themselves.
#pragma once
#include <string>

namespace espalier::tool {

std::string recipe_reference();

}  // namespace espalier::tool
