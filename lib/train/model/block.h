// SPDX-License-Identifier: Apache-2.0
// The blocks of a layer. Each reads the residual stream through a norm and adds to it: "readers"
// are the matrices that read the normed stream, the "consumer" is the matrix that writes back.
#pragma once
#include <span>
#include <vector>

#include "model/transformer.h"

namespace espalier::model {

struct Block {
  arch::Role norm;           // before the readers
  arch::Role consumer;       // attn_output or ffn_down
  arch::Role consumer_bias;  // not every family has one
  arch::Role post_norm;      // of what the consumer gives; not every family has one
  arch::Axis axis;           // what the consumer's columns are cut along
  Tap input, inner;          // what the readers read; what the consumer reads
  std::vector<arch::Role> (*readers)(const arch::Arch& arch);
  // From the stream [.., H] to what the consumer reads [.., width].
  torch::Tensor (Transformer::*activation)(int layer, const torch::Tensor& x) const;
  // From that to what is added to the stream [.., H].
  torch::Tensor (Transformer::*output)(int layer, const torch::Tensor& activation) const;

  bool in(const arch::LayerDims& layer) const {
    return axis == arch::Axis::ffn ? layer.ffn > 0 : layer.kv_groups * layer.q_per_kv > 0;
  }
};

// Every kind of block, in the order in which a layer applies them. A layer may lack some.
std::span<const Block> all_blocks();

}  // namespace espalier::model
