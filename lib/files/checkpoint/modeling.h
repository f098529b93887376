// SPDX-License-Identifier: Apache-2.0
// The Python file with which transformers loads families that it lacks: modeling_espalier.py of
// this folder, compiled in.
#pragma once
#include <string_view>

namespace espalier::checkpoint {

inline constexpr const char* kModelingFile = "modeling_espalier.py";
std::string_view modeling_file();

}  // namespace espalier::checkpoint
