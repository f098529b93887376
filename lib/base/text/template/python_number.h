// SPDX-License-Identifier: Apache-2.0
// Numbers in texts, as Python's int() and float() read them.
#pragma once
#include <cstdint>
#include <optional>
#include <string_view>

namespace espalier::text::jinja {

// Nothing when the text is no number. Fault when it does not fit into 64 bits.
std::optional<std::int64_t> parse_whole(std::string_view text);
std::optional<double> parse_real(std::string_view text);

}  // namespace espalier::text::jinja
