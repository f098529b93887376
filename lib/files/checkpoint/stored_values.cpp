// SPDX-License-Identifier: Apache-2.0
// Values of both kinds as float. A double is rounded to the nearest float.
#include "checkpoint/stored_values.h"

#include <cmath>
#include <cstring>
#include <limits>

#include "format/finite.h"

namespace espalier::checkpoint {
namespace {

double double_at(const std::byte* bytes, std::int64_t index) {
  double value = 0;
  std::memcpy(&value, bytes + index * 8, 8);
  return value;
}

}  // namespace

std::int64_t StoredValues::bytes(std::int64_t rows, std::int64_t cols) const {
  return doubles ? rows * cols * 8 : format::matrix_bytes(format, rows, cols);
}

void StoredValues::decode(const std::byte* from, float* to, std::int64_t n) const {
  if (!doubles) return format::info(format).decode(from, to, n);
  for (std::int64_t i = 0; i < n; ++i) to[i] = static_cast<float>(double_at(from, i));
}

std::int64_t StoredValues::first_not_finite(std::span<const std::byte> values) const {
  if (!doubles) return format::first_not_finite(format, values);
  for (std::int64_t i = 0; i < static_cast<std::int64_t>(values.size() / 8); ++i)
    if (!(std::fabs(double_at(values.data(), i)) <=
          static_cast<double>(std::numeric_limits<float>::max())))
      return i;
  return -1;
}

bool is_readable(const format::SafeTensor& tensor) {
  return tensor.dtype.has_value() || tensor.stored == "F64";
}

StoredValues values_of(const format::SafeTensor& tensor) {
  return {.format = tensor.dtype.value_or(format::FormatId::f32), .doubles = !tensor.dtype};
}

}  // namespace espalier::checkpoint
