// SPDX-License-Identifier: Apache-2.0
// tests/golden/format_blocks*.json (scripts/golden/format.py), parsed once and joined.
#pragma once
#include <cstddef>
#include <cstring>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/file.h"

namespace espalier::format {

inline const nlohmann::json& golden_blocks() {
  static const nlohmann::json golden = [] {
    const auto read = [](const char* name) {
      return nlohmann::json::parse(
          core::read_text_file(std::string(ESPALIER_SOURCE_DIR "/tests/golden/") + name));
    };
    nlohmann::json all = read("format_blocks.json");
    for (const char* more : {"format_blocks_more.json", "format_blocks_mxfp4.json"})
      all["formats"].update(read(more)["formats"]);
    return all;
  }();
  return golden;
}

inline std::vector<std::byte> from_hex(const std::string& text) {
  const auto digit = [](char c) { return c <= '9' ? c - '0' : c - 'a' + 10; };
  std::vector<std::byte> bytes(text.size() / 2);
  for (std::size_t i = 0; i < bytes.size(); ++i)
    bytes[i] = static_cast<std::byte>(digit(text[2 * i]) << 4 | digit(text[2 * i + 1]));
  return bytes;
}

inline std::vector<float> floats_from_hex(const std::string& text) {
  const std::vector<std::byte> bytes = from_hex(text);
  std::vector<float> values(bytes.size() / sizeof(float));
  std::memcpy(values.data(), bytes.data(), values.size() * sizeof(float));
  return values;
}

}  // namespace espalier::format
