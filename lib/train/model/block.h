// SPDX-License-Identifier: Apache-2.0
// Where the blocks of a layer can be watched.
#pragma once
#include <optional>

#include "model/transformer.h"

namespace espalier::model {

struct BlockTaps {
  // What the readers read, what the consumer reads, and what the block adds to the stream.
  Tap input, inner, out;
};
constexpr BlockTaps taps(arch::BlockKind kind) {
  switch (kind) {
    case arch::BlockKind::attention:
      return {Tap::attn_in, Tap::attn_mix, Tap::attn_out};
    case arch::BlockKind::ffn:
      return {Tap::ffn_in, Tap::ffn_act, Tap::ffn_out};
    default:
      arch::not_computed(kind);
  }
}

// The block whose readers or consumer read what a tap shows.
struct BlockInput {
  const arch::Block* block;
  bool inner;  // the consumer does
};
inline std::optional<BlockInput> input_at(const arch::Arch& arch, Tap point) {
  for (const arch::Block& block : arch.blocks) {
    if (point == taps(block.kind).input) return BlockInput{&block, false};
    if (point == taps(block.kind).inner) return BlockInput{&block, true};
  }
  return std::nullopt;
}

}  // namespace espalier::model
