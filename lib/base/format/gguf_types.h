// SPDX-License-Identifier: Apache-2.0
// Names of GGUF value types, used in messages. Private to lib/base/format.
#pragma once
#include <array>
#include <cstddef>

#include "format/gguf.h"

namespace espalier::format {

inline constexpr std::array<const char*, 13> kGgufTypeNames = {
    "u8", "i8", "u16", "i16", "u32", "i32", "f32", "bool", "string", "array", "u64", "i64", "f64"};

inline const char* type_name(GgufType type) {
  return kGgufTypeNames[static_cast<std::size_t>(type)];
}

}  // namespace espalier::format
