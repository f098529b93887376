// SPDX-License-Identifier: Apache-2.0
// Comparison of two stored tensors by value.
#include "checkpoint/own_output.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "checkpoint/stored_values.h"

namespace espalier::checkpoint {
namespace {

constexpr std::int64_t kWindow = std::int64_t{1} << 20;  // values: two windows of at most 4 MB each

// Values [begin, begin + n) of one tensor, as stored.
void read_window(const format::SafetensorsSet& set, const format::SafeTensor& tensor,
                 std::int64_t begin, std::int64_t n, std::vector<std::byte>& bytes) {
  const std::int64_t each = values_of(tensor).bytes(1, 1);
  bytes.resize(static_cast<std::size_t>(n * each));
  set.read(tensor, static_cast<std::uint64_t>(begin * each), bytes);
}

}  // namespace

bool same_values(const format::SafetensorsSet& set, const format::SafeTensor& a,
                 const format::SafeTensor& b) {
  if (a.shape != b.shape || !is_readable(a) || !is_readable(b)) return false;
  const StoredValues of_a = values_of(a), of_b = values_of(b);
  std::int64_t count = 1;
  for (const std::int64_t n : a.shape) count *= n;
  std::vector<std::byte> bytes_a, bytes_b;
  std::vector<float> values_a, values_b;
  for (std::int64_t begin = 0; begin < count; begin += kWindow) {
    const std::int64_t n = std::min(kWindow, count - begin);
    read_window(set, a, begin, n, bytes_a);
    read_window(set, b, begin, n, bytes_b);
    if (of_a == of_b && std::memcmp(bytes_a.data(), bytes_b.data(), bytes_a.size()) == 0) continue;
    values_a.resize(static_cast<std::size_t>(n));  // 0 and -0 are the same value
    values_b.resize(static_cast<std::size_t>(n));
    of_a.decode(bytes_a.data(), values_a.data(), n);
    of_b.decode(bytes_b.data(), values_b.data(), n);
    if (values_a != values_b) return false;
  }
  return true;
}

}  // namespace espalier::checkpoint
