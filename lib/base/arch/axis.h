// SPDX-License-Identifier: Apache-2.0
// The named dimensions along which a checkpoint can be cut, and tensor extents as products of them.
#pragma once
#include <array>
#include <cstdint>
#include <string_view>

namespace espalier::arch {

enum class Axis : std::uint8_t {
  none,
  vocab,
  hidden,
  positions,
  head_dim,
  kv_groups,
  q_per_kv,
  ffn
};
std::string_view axis_name(Axis axis);

// kv_groups, q_per_kv and ffn have their own size and selection in every layer. The other axes have
// one for the whole model.
constexpr bool per_layer(Axis axis) {
  return axis == Axis::kv_groups || axis == Axis::q_per_kv || axis == Axis::ffn;
}

// A run of rows (or columns): the row-major product of up to three axes, slowest first.
struct Run {
  Axis a = Axis::none, b = Axis::none, c = Axis::none;
};
// One tensor dimension: the concatenation of up to three runs (fused QKV has three). An empty
// extent is an absent dimension.
using Extent = std::array<Run, 3>;

constexpr bool touches(const Extent& extent, Axis axis) {
  for (const Run& r : extent)
    if (axis != Axis::none && (r.a == axis || r.b == axis || r.c == axis)) return true;
  return false;
}
constexpr bool absent(const Extent& extent) { return extent[0].a == Axis::none; }

}  // namespace espalier::arch
