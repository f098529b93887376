// SPDX-License-Identifier: Apache-2.0
// Rows for the two kinds of block that the families here have.
#pragma once
#include "arch/families/extents.h"

namespace espalier::arch {

constexpr Block attention_block(std::span<const TensorSpec> tensors,
                                Few<Role> readers = {Role::attn_q, Role::attn_k, Role::attn_v},
                                std::optional<Role> norm_behind = {}) {
  return {.kind = BlockKind::attention,
          .norm = Role::attn_norm,
          .readers = readers,
          .consumer = Role::attn_output,
          .norm_behind = norm_behind,
          .axes = {Axis::kv_groups, Axis::q_per_kv},
          .tensors = tensors};
}

constexpr Block ffn_block(std::span<const TensorSpec> tensors,
                          Few<Role> readers = {Role::ffn_gate, Role::ffn_up},
                          std::optional<Role> norm_behind = {}) {
  return {.kind = BlockKind::ffn,
          .norm = Role::ffn_norm,
          .readers = readers,
          .consumer = Role::ffn_down,
          .norm_behind = norm_behind,
          .axes = {Axis::ffn},
          .tensors = tensors};
}

}  // namespace espalier::arch
