// SPDX-License-Identifier: Apache-2.0
// The training-side model: one Transformer in LibTorch from Arch + ModelDims. forward.cpp mirrors
// runtime/forward.cpp step by step. Legend: B batch, T tokens, H hidden, F ffn, V vocab, N q-heads,
// K kv-groups, D head_dim.
#pragma once
#include <torch/types.h>

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "arch/arch.h"
#include "checkpoint/checkpoint.h"

namespace espalier::model {

struct TransformerOptions {
  bool trainable = false;                            // parameters require gradients
  torch::ScalarType matmul_dtype = torch::kFloat32;  // bfloat16: inputs and weights of matrix
                                                     // products are cast; masters stay float32
  bool checkpoint_layers =
      false;  // recompute each layer's activations in backward instead of keeping them
};

// Not thread-safe: one thread at a time per object (LibTorch uses its own threads inside).
class Transformer {
 public:
  Transformer(const arch::Arch& arch, const arch::ModelDims& dims,
              const TransformerOptions& options);
  // Seeded normal weights with logits of standard deviation about 1, for tests and benchmarks.
  static Transformer random(const arch::Arch& arch, const arch::ModelDims& dims,
                            const TransformerOptions& options, std::uint64_t seed);
  static Transformer load(const checkpoint::Checkpoint& source, const TransformerOptions& options);
  // For models larger than memory: of the weights only the small ones of model scope are read. A
  // layer is there between bring() and drop(), the matrices of the vocabulary never; `source` has
  // to outlive the model.
  static Transformer open(const checkpoint::Checkpoint& source);
  void bring(int layer);  // reads what is not there; nothing to do in a model that was loaded
  void drop(int layer);   // frees what bring() read
  void save(const std::string& directory, const checkpoint::Checkpoint& like,
            const checkpoint::WriteOptions& options) const;

  const arch::Arch& arch() const { return *arch_; }
  const arch::ModelDims& dims() const { return dims_; }
  bool has(arch::Role role, int layer) const { return weights_.contains({role, layer}); }
  torch::Tensor rows(arch::Role role, int layer, std::int64_t begin,
                     std::int64_t n) const;  // of a matrix, in memory or not
  torch::Tensor& weight(arch::Role role,
                        int layer);  // [rows, cols] or [rows]; layer -1 for model scope
  const torch::Tensor& weight(arch::Role role, int layer) const;
  void set_weight(arch::Role role, int layer, torch::Tensor value) {
    weights_.insert_or_assign({role, layer}, std::move(value));
  }
  std::vector<torch::Tensor> parameters() const;  // in the order of arch::tensors()
  const std::map<std::pair<arch::Role, int>, torch::Tensor>& weights() const { return weights_; }

  torch::Tensor embed(const torch::Tensor& ids_BT) const;            // -> BTH
  torch::Tensor layer(int index, const torch::Tensor& x_BTH) const;  // one whole layer
  torch::Tensor attention_mix(int index, const torch::Tensor& x_BTH)
      const;  // -> BT(N D), what attn_output of the layer reads
  torch::Tensor attention_output(
      int index, const torch::Tensor& mix) const;  // -> BTH, what the block adds to the stream
  torch::Tensor ffn_activation(
      int index, const torch::Tensor& x_BTH) const;  // -> BTF, what ffn_down of the layer reads
  torch::Tensor ffn_output(int index, const torch::Tensor& activation)
      const;  // -> BTH, what the block adds to the stream
  torch::Tensor norm(arch::Role role, int layer, const torch::Tensor& x)
      const;  // over the last dimension with that role's gain
  torch::Tensor hidden(const torch::Tensor& ids_BT) const;      // -> BTH after the final norm
  torch::Tensor output_weight() const;                          // [V, H] (token_embd when tied)
  torch::Tensor logits(const torch::Tensor& hidden_BTH) const;  // -> BTV
  torch::Tensor forward(const torch::Tensor& ids_BT) const { return logits(hidden(ids_BT)); }

  // Activation taps: called with the tap point, the layer, and the tensor (B, T, width) during
  // layer()/hidden(). The points, per layer: attn_in (after attn_norm: input of q, k, v), attn_mix
  // (input of attn_output), attn_out (output of attn_output, before the residual), ffn_in (after
  // ffn_norm), ffn_act (input of ffn_down: act(gate) * up, or act(up)), ffn_out (before the
  // residual), layer_in, layer_out; layer -1: output_norm. attn_out and ffn_out are what is added
  // to the stream: behind the bias and the block's own norm where there are such.
  using Tap = std::function<void(const char* point, int layer, const torch::Tensor& value)>;
  void set_tap(Tap tap) { tap_ = std::move(tap); }

 private:
  Transformer(const arch::Arch& arch, const arch::ModelDims& dims,
              const TransformerOptions& options, const checkpoint::Checkpoint* source);
  void read(const arch::TensorRef& ref);
  torch::Tensor embeddings(const torch::Tensor& ids_BT) const;
  void tap(const char* point, int layer, const torch::Tensor& value) const;
  // W x + b, without a bias where there is none.
  struct Affine {
    arch::Role matrix, bias;
  };
  std::vector<torch::Tensor> linears(const std::vector<Affine>& maps, int layer,
                                     const torch::Tensor& x) const;
  torch::Tensor linear(arch::Role matrix, arch::Role bias, int layer, const torch::Tensor& x) const;
  std::pair<torch::Tensor, torch::Tensor> rope_tables(
      int layer, std::int64_t positions) const;  // cos, sin: [positions, R/2]
  torch::Tensor attend(int layer, const torch::Tensor& q_BTND, const torch::Tensor& k_BTKD,
                       const torch::Tensor& v_BTKD) const;

  const arch::Arch* arch_;
  arch::ModelDims dims_;
  TransformerOptions options_;
  std::map<std::pair<arch::Role, int>, torch::Tensor> weights_;
  const checkpoint::Checkpoint* source_ = nullptr;  // of a model whose weights come and go
  struct Rotation {
    torch::Tensor inverse_frequencies;  // [R/2] double; R: how much of a head is turned
    torch::Tensor cosine,
        sine;  // [positions, R/2], as many as were asked for so far; computed in double
  };
  // Of layers that see everything, of those with a window, and of all in a text longer than
  // LongRoPE's original context.
  mutable Rotation global_, local_, beyond_;
  Tap tap_;
};

}  // namespace espalier::model
