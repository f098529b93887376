// SPDX-License-Identifier: Apache-2.0
// JSON from an untrusted file. The parser itself does not recurse, but printing, comparing and
// copying a value do. So nesting is bounded before anything is built.
//
// Broken text and excessive nesting end in Error(input) with file, line and byte. No exception of
// the JSON library leaves this header. The size is bounded where the file is read. Safetensors
// headers have their own event-driven reader.
#pragma once
#include <cstddef>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace espalier::format {

inline constexpr int kMaxJsonDepth = 64;

// Error(input) when `text` nests deeper than kMaxJsonDepth. `path` is used in the message.
// Malformed text is left to the parser.
void check_json_depth(std::string_view text, const std::string& path);
[[noreturn]] void refuse_json(std::string_view text, const std::string& path, std::size_t byte,
                              std::string_view reason);

// Json is nlohmann::json, or ordered_json where the order of keys is kept.
template <typename Json>
Json parse_json(std::string_view text, const std::string& path) {
  check_json_depth(text, path);
  try {
    return Json::parse(text);
  } catch (const typename Json::parse_error& error) {
    refuse_json(text, path, error.byte, error.what());
    // For example a number out of range.
  } catch (const typename Json::exception& error) {
    refuse_json(text, path, 0, error.what());
  }
}

}  // namespace espalier::format
