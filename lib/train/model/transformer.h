// SPDX-License-Identifier: Apache-2.0
// The model of the training side: one Transformer in LibTorch, built from Arch + ModelDims.
// forward.cpp mirrors runtime/forward.cpp step by step. Legend: B batch, T tokens, H hidden, F ffn,
// V vocab, N q-heads, K kv-groups, D head_dim.
#pragma once
#include <torch/types.h>

#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "arch/arch.h"
#include "checkpoint/checkpoint.h"

namespace espalier::model {

// Where a forward pass can be watched. attn_out and ffn_out are what a block adds to the stream:
// after the bias, the block's own norm and the residual factor, where a family has them.
enum class Tap : std::uint8_t {
  layer_in,     // the residual stream before the layer
  attn_in,      // after attn_norm: what q, k and v read
  attn_mix,     // what attn_output reads
  attn_out,     // what the attention block adds to the stream
  ffn_in,       // after ffn_norm: what gate and up read
  ffn_act,      // what ffn_down reads: act(gate) * up, or act(up)
  ffn_out,      // what the FFN block adds to the stream
  layer_out,    // the residual stream after the layer
  output_norm,  // what the output matrix reads; its layer is -1
};

struct TransformerOptions {
  bool trainable = false;  // parameters require gradients
  // bfloat16: inputs and weights of matrix products are cast. The master weights stay float32.
  torch::ScalarType matmul_dtype = torch::kFloat32;
  // Where the weights lie and the passes are computed, by the operations of that device (ops/). On
  // `meta` there are sizes and no values.
  torch::Device device = torch::kCPU;
};

// That of the option `precision` (precision.h).
torch::ScalarType matmul_dtype(const std::string& precision);

class HostRows;

// Not thread-safe: one thread at a time per object. LibTorch uses its own threads inside.
class Transformer {
 public:
  Transformer(const arch::Arch& arch, const arch::ModelDims& dims,
              const TransformerOptions& options);
  // Seeded normal weights whose logits have a standard deviation of about 1, for tests and
  // benchmarks.
  static Transformer random(const arch::Arch& arch, const arch::ModelDims& dims,
                            const TransformerOptions& options, std::uint64_t seed);
  static Transformer load(const checkpoint::Checkpoint& source, const TransformerOptions& options);
  // For models larger than memory. Only the small weights of model scope are read. A layer is in
  // memory between load_layer() and unload_layer(). The output matrix is after load_output(); the
  // embedding is only where it is the output matrix too. `source` must outlive the model.
  static Transformer open(const checkpoint::Checkpoint& source,
                          const TransformerOptions& options = {});
  // Without weights: the caller sets those that will be read.
  static Transformer empty(const arch::Arch& arch, const arch::ModelDims& dims,
                           const TransformerOptions& options = {}) {
    return {arch, dims, options, nullptr};
  }
  // Reads the weights of a layer. Does nothing in a model that was loaded whole.
  void load_layer(int layer);
  // Frees the weights that load_layer() read.
  void unload_layer(int layer);
  // Frees one of them.
  void unload(arch::Role role, int layer);
  // Reads the output matrix, which then stays.
  void load_output();
  void save(const std::string& directory, const checkpoint::Checkpoint& like,
            const checkpoint::WriteOptions& options) const;

  const arch::Arch& arch() const { return *arch_; }
  const arch::ModelDims& dims() const { return dims_; }
  const TransformerOptions& options() const { return options_; }
  torch::Device device() const { return options_.device; }
  bool has(arch::Role role, int layer) const { return weights_.contains({role, layer}); }
  // Rows of a matrix, whether it is in memory or not.
  torch::Tensor rows(arch::Role role, int layer, std::int64_t begin, std::int64_t n) const;
  // [rows, cols] or [rows]. layer -1: model scope.
  torch::Tensor& weight(arch::Role role, int layer);
  const torch::Tensor& weight(arch::Role role, int layer) const;
  void set_weight(arch::Role role, int layer, torch::Tensor value) {
    weights_.insert_or_assign({role, layer}, std::move(value));
  }
  std::vector<torch::Tensor> parameters() const;  // in the order of arch::tensors()
  const std::map<std::pair<arch::Role, int>, torch::Tensor>& weights() const { return weights_; }

  // -> BTH. The ids may lie on the host.
  torch::Tensor embed(const torch::Tensor& ids_BT) const;
  torch::Tensor layer(int index, const torch::Tensor& x_BTH) const;  // one whole layer, -> BTH
  // What the block's consumer reads: BT(N D) of attention, BTF of an FFN.
  torch::Tensor activation(const arch::Block& block, int layer, const torch::Tensor& x_BTH) const;
  // -> BTH, what the block adds to the stream.
  torch::Tensor output(const arch::Block& block, int layer, const torch::Tensor& activation) const;
  // Over the last dimension, with the gain of that role.
  torch::Tensor norm(arch::Role role, int layer, const torch::Tensor& x) const;
  // -> BTH, what the output matrix reads: the normed stream, divided by the divisor of logits.
  torch::Tensor final_norm(const torch::Tensor& x_BTH) const;
  torch::Tensor hidden(const torch::Tensor& ids_BT) const;  // -> BTH after the final norm
  arch::Role output_role() const;                           // token_embd when tied
  torch::Tensor output_weight() const;                      // [V, H]
  // -> BTV. Products are float32, whatever those of the layers are: losses are small differences of
  // logits. Reads an output matrix that is not in memory in blocks of rows, at every call.
  torch::Tensor logits(const torch::Tensor& hidden_BTH) const;
  torch::Tensor forward(const torch::Tensor& ids_BT) const { return logits(hidden(ids_BT)); }

  // Called with every tap point's value (B, T, width) during layer() and hidden().
  using TapFunction = std::function<void(Tap point, int layer, const torch::Tensor& value)>;
  void set_tap(TapFunction tap) { tap_ = std::move(tap); }

 private:
  Transformer(const arch::Arch& arch, const arch::ModelDims& dims,
              const TransformerOptions& options, const checkpoint::Checkpoint* source);
  torch::TensorOptions values() const {
    return torch::TensorOptions(torch::kFloat32).device(options_.device);
  }
  void read(const arch::TensorRef& ref, HostRows& rows);
  torch::Tensor embeddings(const torch::Tensor& ids_BT) const;
  void tap(Tap point, int layer, const torch::Tensor& value) const;
  torch::Tensor attention_mix(const arch::Block& block, int layer, const torch::Tensor& h) const;
  torch::Tensor ffn_activation(const arch::Block& block, int layer, const torch::Tensor& h) const;
  // W x + b of each matrix. Without a bias where the model has none.
  std::vector<torch::Tensor> linears(std::span<const arch::Role> matrices, int layer,
                                     const torch::Tensor& x) const;
  // The products alone, of matrices at hand.
  std::vector<torch::Tensor> products(const torch::Tensor& x,
                                      const std::vector<torch::Tensor>& matrices,
                                      torch::ScalarType dtype) const;
  // cos and sin: [positions, R/2].
  std::pair<torch::Tensor, torch::Tensor> rope_tables(int layer, std::int64_t positions) const;
  torch::Tensor attend(int layer, const torch::Tensor& q_BTND, const torch::Tensor& k_BTKD,
                       const torch::Tensor& v_BTKD) const;

  const arch::Arch* arch_;
  arch::ModelDims dims_;
  TransformerOptions options_;
  std::map<std::pair<arch::Role, int>, torch::Tensor> weights_;
  // The source of a model whose layers are read on demand.
  const checkpoint::Checkpoint* source_ = nullptr;
  struct Rotation {
    torch::Tensor inverse_frequencies;  // [R/2] double; R: rotated values of a head
    // [positions, R/2] for the positions requested so far; computed in double on the host, so that
    // all devices get the same.
    torch::Tensor cosine, sine;
  };
  // Of layers without a window, of layers with a window, and of all layers in a text longer than
  // LongRoPE's original context.
  mutable Rotation global_rotation_, local_rotation_, long_text_rotation_;
  TapFunction tap_;
};

}  // namespace espalier::model
