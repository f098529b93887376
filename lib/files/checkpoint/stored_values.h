// SPDX-License-Identifier: Apache-2.0
// How the values of one tensor lie in its file: in a format of ours, or as F64, which safetensors
// files may have and which becomes F32 when it is read.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>

#include "format/quant_format.h"
#include "format/safetensors.h"

namespace espalier::checkpoint {

struct StoredValues {
  format::FormatId format = format::FormatId::f32;  // of what reading gives, where doubles
  bool doubles = false;

  std::int64_t bytes(std::int64_t rows, std::int64_t cols) const;
  // `n` values from the beginning of a block.
  void decode(const std::byte* from, float* to, std::int64_t n) const;
  // The index of the first value (or of its block) that is not finite, or beyond F32. -1: none.
  std::int64_t first_not_finite(std::span<const std::byte> bytes) const;
  bool operator==(const StoredValues&) const = default;
};

// Whether tensors of that dtype are read: F32, F16, BF16 and F64.
bool is_readable(const format::SafeTensor& tensor);
StoredValues values_of(const format::SafeTensor& tensor);  // a readable one's

}  // namespace espalier::checkpoint
