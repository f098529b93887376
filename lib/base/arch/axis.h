// SPDX-License-Identifier: Apache-2.0
// The named dimensions along which a checkpoint can be cut, and tensor extents as products of them.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string_view>
#include <utility>

namespace espalier::arch {

// clang-format off
// ESP_AXIS(name): one size for the whole model. ESP_LAYER_AXIS(name, key): a size in every layer,
// with its key in GGUF after "<arch>.". Without a key, other keys give the size.
#define ESP_AXES(ESP_AXIS, ESP_LAYER_AXIS)                 \
  ESP_AXIS(vocab)                                          \
  ESP_AXIS(hidden)                                         \
  ESP_AXIS(positions)                                      \
  ESP_AXIS(head_dim)                                       \
  ESP_LAYER_AXIS(ffn, "feed_forward_length")               \
  ESP_LAYER_AXIS(kv_groups, "")                            \
  ESP_LAYER_AXIS(q_per_kv, "")                             \
  ESP_LAYER_AXIS(experts, "expert_count")                  \
  ESP_LAYER_AXIS(expert_ffn, "expert_feed_forward_length") \
  /* Of the experts, those that a token uses. No tensor has it. */ \
  ESP_LAYER_AXIS(experts_per_token, "expert_used_count")
// clang-format on

enum class Axis : std::uint8_t {
  none,
#define ESP_AXIS(name) name,
#define ESP_LAYER_AXIS(name, key) name,
  ESP_AXES(ESP_AXIS, ESP_LAYER_AXIS)
#undef ESP_AXIS
#undef ESP_LAYER_AXIS
};

constexpr std::string_view axis_name(Axis axis) {
  switch (axis) {
    case Axis::none:
      return "none";
#define ESP_AXIS(name) \
  case Axis::name:     \
    return #name;
#define ESP_LAYER_AXIS(name, key) ESP_AXIS(name)
      ESP_AXES(ESP_AXIS, ESP_LAYER_AXIS)
#undef ESP_AXIS
#undef ESP_LAYER_AXIS
  }
  return "";
}
// The key of a size in GGUF, after "<arch>.". Empty: the axis has none of its own.
constexpr std::string_view gguf_key(Axis axis) {
  switch (axis) {
#define ESP_AXIS(name)
#define ESP_LAYER_AXIS(name, key) \
  case Axis::name:                \
    return key;
    ESP_AXES(ESP_AXIS, ESP_LAYER_AXIS)
#undef ESP_AXIS
#undef ESP_LAYER_AXIS
    default:
      return "";
  }
}

// The axes that have their own size in every layer. The others have one for the whole model.
inline constexpr std::array kLayerAxes = {
#define ESP_AXIS(name)
#define ESP_LAYER_AXIS(name, key) Axis::name,
    ESP_AXES(ESP_AXIS, ESP_LAYER_AXIS)
#undef ESP_AXIS
#undef ESP_LAYER_AXIS
};
// Those of them that options and plans can cut.
inline constexpr std::array kCutAxes = {Axis::ffn, Axis::kv_groups, Axis::q_per_kv};
// Those of them whose indices can be scored: the first axis of each kind of block that is computed.
inline constexpr std::array kScoredAxes = {Axis::ffn, Axis::kv_groups};

// A value for each of kLayerAxes.
template <typename T>
class PerAxis {
 public:
  constexpr PerAxis() = default;
  // The others have the value of T().
  constexpr PerAxis(std::initializer_list<std::pair<Axis, T>> values) {
    for (const auto& [axis, value] : values) (*this)[axis] = value;
  }
  constexpr T& operator[](Axis axis) { return values_[place(axis)]; }
  constexpr const T& operator[](Axis axis) const { return values_[place(axis)]; }
  constexpr bool operator==(const PerAxis&) const = default;

 private:
  static constexpr std::size_t place(Axis axis) {
    std::size_t i = 0;
    while (kLayerAxes[i] != axis) ++i;
    return i;
  }
  std::array<T, kLayerAxes.size()> values_{};
};

// A run of rows (or columns): the row-major product of up to three axes, slowest first.
struct Run {
  Axis a = Axis::none, b = Axis::none, c = Axis::none;
  constexpr bool operator==(const Run&) const = default;
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
