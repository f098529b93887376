// SPDX-License-Identifier: Apache-2.0
// The two tables of the byte alphabet, built once.
#include "text/byte_alphabet.h"

#include <array>

#include "text/utf8.h"

namespace espalier::text {
namespace {

constexpr std::size_t kAlphabetEnd = 0x100 + 68;  // one past the highest code point in use

struct Tables {
  std::array<std::string, 256> symbol;
  std::array<int, kAlphabetEnd> byte;  // -1: not in the alphabet

  Tables() {
    byte.fill(-1);
    char32_t next = 0x100;
    for (int b = 0; b < 256; ++b) {
      const bool printable = (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
      const char32_t point = printable ? static_cast<char32_t>(b) : next++;
      append_code_point(symbol[static_cast<std::size_t>(b)], point);
      byte[point] = b;
    }
  }
};

const Tables& tables() {
  static const Tables instance;
  return instance;
}

}  // namespace

const std::string& byte_symbol(std::uint8_t byte) { return tables().symbol[byte]; }

std::optional<std::string> bytes_of_symbols(std::string_view token) {
  std::string out;
  out.reserve(token.size());
  for (std::size_t i = 0; i < token.size();) {
    const CodePoint point = code_point_at(token, i);
    if (!point.valid || point.value >= kAlphabetEnd || tables().byte[point.value] < 0)
      return std::nullopt;
    out.push_back(static_cast<char>(static_cast<unsigned char>(tables().byte[point.value])));
    i += point.length;
  }
  return out;
}

std::string symbols_of_bytes(std::string_view bytes) {
  std::string out;
  for (const char c : bytes) out += byte_symbol(static_cast<std::uint8_t>(c));
  return out;
}

}  // namespace espalier::text
