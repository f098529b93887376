// SPDX-License-Identifier: Apache-2.0
// Base64 (RFC 4648) with padding, as JSON files of tokenizers hold bytes.
#pragma once
#include <optional>
#include <string>
#include <string_view>

namespace espalier::text {

std::string encode_base64(std::string_view bytes);
std::optional<std::string> decode_base64(std::string_view text);  // nothing: it is no base64

}  // namespace espalier::text
