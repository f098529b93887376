// SPDX-License-Identifier: Apache-2.0
// A GGUF again, with more keys or in parts.
#pragma once
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "format/gguf.h"

namespace espalier::support {

// Writes the model of `from` with these keys as well. Returns the paths of its files.
std::vector<std::string> rewrite_gguf(
    const std::string& from, const std::string& to,
    const std::vector<std::pair<std::string, format::GgufValue>>& keys,
    std::uint64_t part_bytes = 0);

}  // namespace espalier::support
