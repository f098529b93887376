// SPDX-License-Identifier: Apache-2.0
// Sizes of all axes of one model, per layer where they can differ, and the other numbers that its
// config carries.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "arch/axis.h"

namespace espalier::arch {

struct LayerDims {
  PerAxis<std::int64_t> sizes = {};  // 0: the layer lacks the block
  bool local = false;                // attention sees only ModelDims::window positions
  bool rope = true;                  // false: attention without rotary positions
  constexpr std::int64_t& operator[](Axis axis) { return sizes[axis]; }
  constexpr std::int64_t operator[](Axis axis) const { return sizes[axis]; }
  constexpr std::int64_t heads() const {  // of the queries
    return sizes[Axis::kv_groups] * sizes[Axis::q_per_kv];
  }
  bool operator==(const LayerDims&) const = default;
};

// Frequency scaling in the style of Llama 3.1. Factor 1 means no scaling.
struct RopeScaling {
  double factor = 1, low_freq_factor = 1, high_freq_factor = 4;
  std::int64_t original_positions = 8192;
  bool operator==(const RopeScaling&) const = default;
};

// LongRoPE (Ding et al. 2024, arXiv 2402.13753). Every frequency has one divisor for texts of at
// most original_positions and another for longer texts. attention_factor multiplies cosines and
// sines. Without divisors LongRoPE is not used.
struct LongRope {
  std::vector<float> short_factors, long_factors;  // rotary_dim / 2 each
  std::int64_t original_positions = 0;
  double attention_factor = 1;
  bool used() const { return !short_factors.empty(); }
  bool operator==(const LongRope&) const = default;
};

struct ModelDims {
  std::int64_t vocab = 0, hidden = 0, head_dim = 0;
  std::int64_t positions = 0;  // context length
  std::vector<LayerDims> layers;
  bool tied = false;  // output shares token_embd
  double norm_eps = 1e-5;
  double rope_theta = 10000;
  RopeScaling rope_scaling;
  // Positions are divided by it (Chen et al. 2023, arXiv 2306.15595), except in local layers with
  // their own rotary base. 1: no scaling.
  double rope_linear = 1;
  LongRope long_rope;
  // Number of leading values of a head that are rotated by position. 0: all.
  std::int64_t rotary_dim = 0;
  // Biases of q, k, v; of attn_output; of gate, up, down.
  bool attention_bias = false, output_bias = false, mlp_bias = false;
  // Positions that a local layer sees, its own included. 0: there are no local layers.
  std::int64_t window = 0;
  double local_rope_theta = 0;                      // rotary base of local layers; 0: rope_theta
  double attention_scale = 0;                       // factor on q . k; 0: 1 / sqrt(head_dim)
  double embedding_factor = 1;                      // on embeddings, before the first layer
  double residual_factor = 1;                       // on what a block adds to the stream
  double logit_divisor = 1;                         // of logits, before their soft-cap
  double attention_softcap = 0, logit_softcap = 0;  // c in c tanh(x / c); 0: none

  std::int64_t rotated() const { return rotary_dim > 0 ? rotary_dim : head_dim; }
  std::int64_t n_layers() const { return static_cast<std::int64_t>(layers.size()); }
  // All layers have the same sizes.
  bool uniform() const {
    for (const LayerDims& l : layers)
      if (l.sizes != layers.front().sizes) return false;
    return true;
  }
  bool operator==(const ModelDims&) const = default;
};

constexpr std::int64_t size_of(Axis axis, const ModelDims& d, const LayerDims* layer) {
  switch (axis) {
    case Axis::none:
      return 1;
    case Axis::vocab:
      return d.vocab;
    case Axis::hidden:
      return d.hidden;
    case Axis::positions:
      return d.positions;
    case Axis::head_dim:
      return d.head_dim;
    default:
      return (*layer)[axis];
  }
}
// Number of positions in the extent. An absent extent counts as one.
constexpr std::int64_t length(const Extent& extent, const ModelDims& d, const LayerDims* layer) {
  if (absent(extent)) return 1;
  std::int64_t n = 0;
  for (const Run& r : extent)
    if (r.a != Axis::none)
      n += size_of(r.a, d, layer) * size_of(r.b, d, layer) * size_of(r.c, d, layer);
  return n;
}

}  // namespace espalier::arch
