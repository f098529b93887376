// SPDX-License-Identifier: Apache-2.0
// An edited model follows the exact one. Two residual streams of the same text go through the
// layers: the exact stream, and the edited stream through the layers as edited so far. Each matrix
// is refitted by ridge regression so that the edited stream stays close to the exact one:
//
//   readers (q, k, v, gate, up):   W' = W M,  M = argmin sum_t || x_t - M a_t ||^2 + lambda || M - I ||^2
//   consumer (attn_output, down):  W' = argmin sum_t || d_t - u_t - W' b_t ||^2 / rms(d_t)^2 + lambda || W' - W_S ||^2
//
//   x, a: normed input of the exact and the edited model   b: inner activations of the block
//   d: exact stream after the block                        u: edited stream before the block
//   S: the columns that stay
//
// The norm that reads the stream divides by its RMS, hence the weight. Without it the first
// position, whose RMS is a hundred times larger, would dominate. The last block of a layer before
// dropped layers is fitted to the exact stream after them. So it takes over as much of their work
// as it can. Where a norm follows a consumer, the consumer is fitted to its own exact products.
// Where what a block adds has a factor, d - u is divided by it. lambda is the ridge times the mean
// diagonal of the Gram matrix. Each fit chooses its ridge by windows that it did not see
// (held_out.h), unless one is given.
//
// Memory: one layer of each model, both streams and one block's inner activations of all tokens:
// 4 * tokens * (2 H + F) bytes.
#pragma once
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <vector>

#include "layerwise/edit.h"
#include "layerwise/held_out.h"
#include "layerwise/visitor.h"

namespace espalier::layerwise {

struct FollowOptions {
  std::vector<std::int64_t> keep_layers;                 // ascending; the others are dropped
  std::optional<std::vector<std::int64_t>> hidden = {};  // indices of the stream that stay
  bool refit = true;
  std::optional<double> ridge = {};  // of every fit; empty: each chooses its own
  // Biases of consumers that take up what is left in the mean, where there is no refit.
  std::set<arch::Role> biases = {};
  // The last windows of the text, which go along and which no sum reads: edited() judges by them.
  std::int64_t judged = 0;
  // Of the norms of the stream, where that is cut: their mean is one of fewer channels.
  double gain_factor = 1;
};

// What became of one kept layer.
struct EditedLayer {
  Kept kept;                                     // of the axes that were cut
  std::map<arch::Role, torch::Tensor> refitted;  // float32, in their new shape
  std::map<arch::Role, double> ridges;           // of a consumer, and of a block's first reader
};

// The stored gains of a norm of the stream, for gains that are `factor` times as large.
torch::Tensor scaled_gains(const arch::Arch& arch, const torch::Tensor& stored, double factor);

class Follow : public Visitor {
 public:
  Follow(FollowOptions options, std::vector<Edit*> edits);

  bool by_block() const override { return true; }
  void begin(model::Transformer& model, const torch::Tensor& ids, const Stream& stream) override;
  void layer_begin(model::Transformer& model, int layer) override;
  void see(model::Tap point, int layer, std::int64_t batch, const torch::Tensor& value) override;
  void block_end(model::Transformer& model, int layer, const arch::Block& block,
                 const Stream& stream) override;
  void layer_end(model::Transformer& model, int layer, const Stream& stream) override;
  // True between kept layers: there the streams and layers() are all that the rest depends on.
  bool at_rest() const override { return !layer_.has_value(); }
  void save_layer(int layer, Saved& out) const override;
  void load_layer(int layer, const Saved& in) override;
  void save(Saved& out) const override;
  void load(const Saved& in) override;

  // The kept layers that are done, in order.
  std::vector<EditedLayer>& layers() { return layers_; }
  const Stream& edited() const { return edited_; }
  bool streams_differ() const { return differ_ || options_.hidden.has_value(); }

 private:
  int end_of(std::size_t k) const;
  torch::Tensor on_hidden(const torch::Tensor& t, int dim) const;
  model::Transformer one_layer_model(const model::Transformer& model, int source) const;
  BlockEdit view(const arch::Block& block) const { return {*layer_, source_, block}; }
  bool removed(const arch::Block& block) const;
  bool is_last(const arch::Block& block) const;
  std::optional<torch::Tensor> positions(const arch::Extent& extent, const Kept& kept) const;
  bool refits() const;
  double likely_ridge(arch::Role role) const;
  double ridge_for(arch::Role role, const SplitEquations& equations,
                   const torch::Tensor& prior) const;
  torch::Tensor edit(const arch::Block& block, arch::Role role, torch::Tensor weights,
                     const NormalEquations& inputs);
  void activate(const arch::Block& block);
  void edit_readers(model::Transformer& model, const arch::Block& block);
  void finish_block(const arch::Block& block, const Stream& exact, bool later);
  torch::Tensor cut(const arch::Block& block, const torch::Tensor& consumer, bool refit,
                    SplitEquations& equations);
  struct Aim {
    torch::Tensor value, weight;  // [windows, T, H], [windows, T, 1]
  };
  Aim aim_of(const arch::Block& block, const Stream& exact, std::int64_t batch) const;
  void set_bias(const arch::Block& block, const Stream& exact);
  SplitEquations consumer_equations(const arch::Block& block, const Stream& exact,
                                    bool with_abs) const;
  std::int64_t read_of(std::int64_t batch) const;

  FollowOptions options_;
  std::vector<Edit*> edits_;
  Stream edited_;
  std::vector<EditedLayer> layers_;
  bool differ_ = false;
  std::int64_t n_read_ = 0;  // the windows from here on are judged
  std::int64_t n_seen_ = 0;  // those from here to n_read_ are held out

  // Of the layer that is being edited.
  std::optional<model::Transformer> layer_;
  model::Transformer* exact_ = nullptr;
  int source_ = 0, next_ = 0;          // the layer, and the kept layer after it
  const arch::Block* open_ = nullptr;  // its consumer waits for the stream before layer next_
  EditedLayer result_;
  SplitEquations inputs_;                   // of the block's readers
  std::vector<torch::Tensor> products_;     // per batch, of a consumer that a norm follows
  std::vector<torch::Tensor> activations_;  // per batch, of the edited model
  // Where they lie, for one block after the other. Blocks of memory for each batch would leave
  // holes between what is freed.
  torch::Tensor memory_;
};

}  // namespace espalier::layerwise
