// SPDX-License-Identifier: Apache-2.0
// Rows for the kinds of block that the families here have.
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

// A router, and FFNs of which each token uses those that the router ranks first. It has the norm of
// the FFN, so that a layer has one of the two.
constexpr Block experts_block(std::span<const TensorSpec> tensors) {
  return {.kind = BlockKind::experts,
          .norm = Role::ffn_norm,
          .readers = {Role::ffn_gate_inp, Role::ffn_gate_exps, Role::ffn_up_exps},
          .consumer = Role::ffn_down_exps,
          .axes = {Axis::experts, Axis::expert_ffn},
          .tensors = tensors};
}

}  // namespace espalier::arch
