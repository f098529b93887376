// SPDX-License-Identifier: Apache-2.0
// A block is a row of a family's table. It reads the residual stream x through a norm and adds to
// it:
//
//   x += norm_behind(consumer(kind(readers(norm(x)))))
//
// A layer applies the family's blocks in the order of the table, except those that it lacks. So
// kinds may differ from layer to layer: blocks with the same norm stand in for each other, and a
// layer has one of them. A role belongs to the blocks whose tensors name it.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <span>
#include <string_view>

#include "arch/dims.h"
#include "arch/tensor_spec.h"

namespace espalier::arch {

// What a block computes between its readers and its consumer. A family has at most one block of a
// kind.
enum class BlockKind : std::uint8_t { attention, ffn, experts };
constexpr std::string_view block_name(BlockKind kind) {  // for people
  switch (kind) {
    case BlockKind::attention:
      return "attention";
    case BlockKind::ffn:
      return "FFN";
    case BlockKind::experts:
      return "experts";
  }
  return "";
}
// Whether the two forward passes compute it. What they do not compute yet can be inspected and
// planned, and require_computed() refuses the rest.
constexpr bool is_computed(BlockKind kind) {
  switch (kind) {
    case BlockKind::attention:
    case BlockKind::ffn:
      return true;
    case BlockKind::experts:
      return false;
  }
  return false;
}
// For a switch over the kinds that are computed.
[[noreturn]] void not_computed(BlockKind kind);

// At most four entries of a table.
template <typename T>
class Few {
 public:
  constexpr Few(std::initializer_list<T> items) : size_(items.size()) {
    std::size_t i = 0;
    for (const T& item : items) items_[i++] = item;
  }
  constexpr const T* begin() const { return items_.data(); }
  constexpr const T* end() const { return items_.data() + size_; }
  constexpr std::size_t size() const { return size_; }
  constexpr const T& front() const { return items_[0]; }
  constexpr bool contains(const T& item) const {
    for (const T& i : *this)
      if (i == item) return true;
    return false;
  }

 private:
  std::array<T, 4> items_{};
  std::size_t size_;
};

struct Block {
  BlockKind kind;
  Role norm;                             // of the stream, before the readers
  Few<Role> readers;                     // matrices that read the normed stream
  Role consumer;                         // the matrix that writes back
  std::optional<Role> norm_behind = {};  // of what the consumer gives
  // What the block is cut along, the scored axis first. A layer where one of them is 0 lacks the
  // block.
  Few<Axis> axes;
  std::span<const TensorSpec> tensors;  // all of the block, in file order

  constexpr Axis axis() const { return axes.front(); }
  constexpr const TensorSpec* find(Role role) const {
    for (const TensorSpec& spec : tensors)
      if (spec.role == role) return &spec;
    return nullptr;
  }
  // Sanitizers make GCC refuse to compare the address of an inline table with nullptr in a constant
  // expression, so this looks for the role itself.
  constexpr bool has(Role role) const {
    for (const TensorSpec& spec : tensors)
      if (spec.role == role) return true;
    return false;
  }
  constexpr bool in(const LayerDims& layer) const {
    for (const Axis axis : axes)
      if (layer[axis] == 0) return false;
    return true;
  }
};

// A stack has one run of rows, the matrices slowest. Only a stack has another name as a whole.
constexpr bool sound_stack(const TensorSpec& t) {
  if (!t.is_stack()) return t.hf_stack.empty();
  return !t.is_vector() && t.rows[0].b != Axis::none && t.rows[1] == Run{} &&
         t.hf_stack.find("{E}") == std::string_view::npos;
}
// Whether the rows of a matrix, or of each matrix of a stack, are those of the extent.
constexpr bool has_rows(const TensorSpec& t, const Extent& extent) {
  const Extent one{{{t.rows[0].b, t.rows[0].c}}};
  return t.is_stack() ? one == extent : t.rows == extent;
}

// The norms are vectors over the stream. The readers are exactly the matrices that read the stream,
// and the consumer writes to it. Every axis that a tensor of the block touches is the block's. Such
// an axis is produced by the rows of a reader, and consumed by the columns of the consumer or by
// its stack. The first can be scored where the block is computed. A bias belongs to a tensor of the
// block, and is as long.
constexpr bool sound(const Block& b) {
  const Extent stream{{{Axis::hidden}}};
  const auto is_norm = [&](Role role) {
    return b.has(role) && b.find(role)->is_vector() && b.find(role)->rows == stream;
  };
  if (!is_norm(b.norm) || (b.norm_behind && !is_norm(*b.norm_behind))) return false;
  if (!b.has(b.consumer)) return false;
  const TensorSpec* consumer = b.find(b.consumer);
  if (consumer->is_vector() || !has_rows(*consumer, stream)) return false;
  for (const Role role : b.readers)
    if (!b.has(role)) return false;
  for (const TensorSpec& t : b.tensors) {
    if (!is_layer_spec(t) || !sound_stack(t)) return false;
    for (const TensorSpec& other : b.tensors)
      if (&other != &t && other.role == t.role) return false;
    if (b.readers.contains(t.role) != (t.cols == stream)) return false;
    for (const Axis axis : kLayerAxes)
      if ((touches(t.rows, axis) || touches(t.cols, axis)) && !b.axes.contains(axis)) return false;
    if (const std::optional<Role> of = weight_of(t.role)) {
      if (!b.has(*of) || !t.is_vector() || b.find(*of)->rows != t.rows) return false;
    }
  }
  bool scored = !is_computed(b.kind);
  for (const Axis axis : kScoredAxes) scored |= axis == b.axis();
  if (!scored) return false;
  for (const Axis axis : b.axes) {
    bool produced = false;
    for (const Role role : b.readers) produced |= touches(b.find(role)->rows, axis);
    const bool consumed = touches(consumer->cols, axis) || touches(consumer->rows, axis);
    if (!produced || !consumed) return false;
  }
  return true;
}

}  // namespace espalier::arch
