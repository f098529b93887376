// SPDX-License-Identifier: Apache-2.0
// JSON from a file somebody else wrote. The parser itself does not recurse, but printing, comparing
// and copying a value do, so nesting is bounded before anything is built. Broken text and absurd
// nesting end in Error(input) with file, line and byte; no exception of the JSON library leaves
// this header. Size is bounded where the file is read. Safetensors headers have their own
// event-driven reader.
#pragma once
#include <cstddef>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace espalier::format {

inline constexpr int kMaxJsonDepth = 64;

// `path` is for messages. Malformed text is left to the parser.
void check_json_depth(std::string_view text, const std::string& path);
[[noreturn]] void refuse_json(std::string_view text, const std::string& path, std::size_t byte,
                              std::string_view reason);

// Json: nlohmann::json, or ordered_json where the order of keys is kept.
template <typename Json>
Json parse_json(std::string_view text, const std::string& path) {
  check_json_depth(text, path);
  try {
    return Json::parse(text);
  } catch (const typename Json::parse_error& error) {
    refuse_json(text, path, error.byte, error.what());
  } catch (const typename Json::exception& error) {  // a number out of range
    refuse_json(text, path, 0, error.what());
  }
}

}  // namespace espalier::format
