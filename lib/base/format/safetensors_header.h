// SPDX-License-Identifier: Apache-2.0
// The JSON of safetensors files, parsed strictly. Duplicate keys, wrong types and unknown fields
// are refused with their place. Private to lib/base/format.
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "format/safetensors.h"

namespace espalier::format {

struct SafetensorsHeader {
  std::vector<SafeTensor> tensors;  // in the header's order; offsets are relative to the data
  std::map<std::string, std::string> metadata;
};

// `data_bytes` is the size of the file after the header. The tensors must tile it.
SafetensorsHeader parse_safetensors_header(const std::string& path, std::string_view json,
                                           std::uint64_t data_bytes);

// Maps tensor names to file names, read from model.safetensors.index.json. File names have no
// directory part.
std::map<std::string, std::string> parse_safetensors_index(const std::string& path,
                                                           std::string_view json);

}  // namespace espalier::format
