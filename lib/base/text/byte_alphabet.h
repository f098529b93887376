// SPDX-License-Identifier: Apache-2.0
// GPT-2's printable byte alphabet: each of the 256 byte values is written as one code point, so
// that vocabularies are plain text. Printable Latin-1 bytes (0x21-0x7E, 0xA1-0xAC, 0xAE-0xFF) stand
// for themselves. The other 68 become U+0100 and up, in order.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace espalier::text {

// UTF-8 of the code point that stands for a byte.
const std::string& byte_symbol(std::uint8_t byte);
// The bytes that a token in the alphabet stands for. nullopt when the token has a code point
// outside the alphabet or is broken UTF-8.
std::optional<std::string> bytes_of_symbols(std::string_view token);
std::string symbols_of_bytes(std::string_view bytes);

}  // namespace espalier::text
