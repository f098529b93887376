// SPDX-License-Identifier: Apache-2.0
// The Python file that lets transformers load the families it does not have; modeling_espalier.py
// of this folder, compiled in.
#pragma once
#include <string_view>

namespace espalier::checkpoint {

inline constexpr const char* kModelingFile = "modeling_espalier.py";
std::string_view modeling_file();

}  // namespace espalier::checkpoint
