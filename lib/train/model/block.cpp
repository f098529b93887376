// SPDX-License-Identifier: Apache-2.0
// The table of blocks.
#include "model/block.h"

namespace espalier::model {

using arch::Role;

std::span<const Block> all_blocks() {
  static const Block blocks[] = {
      {.norm = Role::attn_norm,
       .consumer = Role::attn_output,
       .consumer_bias = Role::attn_output_bias,
       .post_norm = Role::attn_post_norm,
       .axis = arch::Axis::kv_groups,
       .input = Tap::attn_in,
       .inner = Tap::attn_mix,
       .readers = arch::attention_inputs,
       .activation = &Transformer::attention_mix,
       .output = &Transformer::attention_output},
      {.norm = Role::ffn_norm,
       .consumer = Role::ffn_down,
       .consumer_bias = Role::ffn_down_bias,
       .post_norm = Role::ffn_post_norm,
       .axis = arch::Axis::ffn,
       .input = Tap::ffn_in,
       .inner = Tap::ffn_act,
       .readers = arch::ffn_inputs,
       .activation = &Transformer::ffn_activation,
       .output = &Transformer::ffn_output},
  };
  return blocks;
}

}  // namespace espalier::model
