// SPDX-License-Identifier: Apache-2.0
// The pruning pass: dense and pruned streams side by side, cuts and refits layer by layer.
#include "prune/sequential.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <optional>

#include "core/error.h"
#include "model/ridge.h"
#include "prune/pass_state.h"

namespace espalier::prune {
namespace {

using arch::Axis;
using arch::Role;

constexpr std::int64_t kBatch = 8;  // windows per forward

torch::Tensor as_index(const std::vector<std::int64_t>& v) {
  return torch::tensor(v, torch::kInt64);
}

// The sums over inner activations of a block that ridge regression and the criteria need.
struct NormalEquations : model::RidgeSums {
  torch::Tensor abs_sum;  // float64: sum |a| over weighted rows
  // activations [.., width], the output that the consumer should give [.., H], and the size that
  // weighs each row [.., H].
  void add(const torch::Tensor& activations, const torch::Tensor& aim, const torch::Tensor& size) {
    const torch::Tensor weight = model::inverse_rms(size), a = activations * weight;
    RidgeSums::add(a, aim * weight);
    const torch::Tensor s = a.reshape({-1, a.size(-1)}).abs().sum(0, false, torch::kFloat64);
    abs_sum = abs_sum.defined() ? abs_sum.add_(s) : s;
  }
};

// [H, |S|]: the weights of the consumer for the kept channels.
torch::Tensor refit(const model::RidgeSums& sums, const torch::Tensor& weights,
                    const torch::Tensor& channels, double ridge) {
  return sums.of(channels)
      .solve(weights.index_select(1, channels), ridge)
      .to(torch::kFloat32)
      .contiguous();
}

// Works on one-layer models: the pruned stream passes through them while the layer is being cut.
class LayerwisePass {
 public:
  LayerwisePass(const SequentialInput& input, const core::Progress& progress)
      : in_(input), progress_(progress), dense_(input.dense) {
    for (const torch::Tensor& batch : in_.windows.split(kBatch)) {
      dense_streams_.push_back(dense_.embed(batch));
      pruned_streams_.push_back(on_hidden(dense_streams_.back(), -1));
    }
  }

  SequentialResult run() {
    SequentialResult out;
    PassState::Position position;
    if (in_.state != nullptr)
      position = in_.state->load(dense_streams_, pruned_streams_, out).value_or(position);
    dense_at_ = position.dense_at;
    pruned_differs_ = position.pruned_differs;
    for (std::size_t k = position.layers; k < in_.keep_layers.size(); ++k) {
      const int source = static_cast<int>(in_.keep_layers[k]);
      while (dense_at_ < source) advance_dense();  // dropped layers before the first kept layer
      const int next = k + 1 < in_.keep_layers.size() ? static_cast<int>(in_.keep_layers[k + 1])
                                                      : static_cast<int>(dense_.dims().n_layers());
      out.layers.push_back(cut_layer(source, next, in_.sizes.at(k),
                                     in_.given.empty() ? nullptr : &in_.given.at(k), out));
      if (in_.state != nullptr && k + 1 < in_.keep_layers.size())
        in_.state->layer_done({k + 1, dense_at_, pruned_differs_}, dense_streams_, pruned_streams_,
                              out);
      if (progress_)
        progress_({"prune", static_cast<std::int64_t>(k + 1),
                   static_cast<std::int64_t>(in_.keep_layers.size()), "layers", ""});
    }
    return out;
  }

 private:
  torch::Tensor on_hidden(const torch::Tensor& t, int dim) const {
    return in_.hidden ? t.index_select(dim, as_index(*in_.hidden)) : t;
  }

  // Values of one dense layer, per batch: the stream after attention, and the normed stream that
  // the readers (q, k, v, gate, up) read. Where a norm stands between a consumer and the stream:
  // also the products of attn_output and ffn_down.
  struct DenseTargets {
    std::vector<torch::Tensor> mid, attention_products, ffn_products, attention_in, ffn_in;
  };
  // Takes the dense stream of every batch through the next layer.
  void advance_dense(DenseTargets* targets = nullptr) {
    dense_.load_layer(dense_at_);
    for (torch::Tensor& x : dense_streams_) {
      torch::Tensor attention;
      const auto products = [&](Role matrix, Role norm, const torch::Tensor& input,
                                std::vector<torch::Tensor>& out) {
        if (dense_.has(norm, dense_at_))
          out.push_back(on_hidden(input.matmul(dense_.weight(matrix, dense_at_).t()), -1));
      };
      dense_.set_tap([&](const char* point, int, const torch::Tensor& value) {
        const std::string_view name(point);
        if (name == "attn_out") attention = value;
        if (targets != nullptr && name == "attn_in") targets->attention_in.push_back(value);
        if (targets != nullptr && name == "ffn_in") targets->ffn_in.push_back(value);
        if (targets != nullptr && name == "attn_mix")
          products(Role::attn_output, Role::attn_post_norm, value, targets->attention_products);
        if (targets != nullptr && name == "ffn_act")
          products(Role::ffn_down, Role::ffn_post_norm, value, targets->ffn_products);
      });
      const torch::Tensor y = dense_.layer(dense_at_, x);
      if (targets != nullptr)
        targets->mid.push_back(on_hidden(attention.defined() ? x + attention : x, -1));
      x = y;
    }
    if (targets == nullptr) dense_.unload_layer(dense_at_);
    ++dense_at_;
  }

  // Adds batch b of a block to the equations. The matrix aims at the dense stream. Where a norm
  // follows it, it aims at its own dense products.
  static void add_equations(NormalEquations& normal, const model::Transformer& layer, Role bias,
                            const torch::Tensor& activations, const torch::Tensor& before,
                            const torch::Tensor& dense, const std::vector<torch::Tensor>& products,
                            std::size_t b) {
    if (!products.empty()) return normal.add(activations, products[b], products[b]);
    const torch::Tensor aim = dense - before;
    normal.add(activations, layer.has(bias, 0) ? aim - layer.weight(bias, 0) : aim, dense);
  }

  // Refits the matrices that read the normed pruned stream to give the dense outputs. Each becomes
  // W M, where M maps pruned inputs a to dense inputs x: M = argmin sum_t || x_t - M a_t ||^2 +
  // lambda || M - I_S ||^2.
  void refit_readers(model::Transformer& layer, int source, Role norm,
                     const std::vector<Role>& readers, const std::vector<torch::Tensor>& streams,
                     const std::vector<torch::Tensor>& dense_inputs) const {
    model::RidgeSums sums;
    for (std::size_t b = 0; b < streams.size(); ++b)
      sums.add(layer.norm(norm, 0, streams[b]), dense_inputs[b]);
    const torch::Tensor map = sums.solve(on_hidden(torch::eye(dense_.dims().hidden), -1), in_.ridge)
                                  .to(torch::kFloat32)
                                  .contiguous();
    for (const Role role : readers) layer.weight(role, 0) = dense_.weight(role, source).matmul(map);
  }
  // The positions of an extent that survive in a layer. Empty when all do.
  std::optional<torch::Tensor> kept_positions(const arch::Extent& extent,
                                              const plan::LayerSelection& kept,
                                              const arch::LayerDims& full) const {
    std::optional<std::vector<std::int64_t>> out;
    const auto cut = [&](Axis axis, const plan::Selection& selection) {
      if (!selection || !touches(extent, axis)) return;
      std::vector<std::int64_t> these =
          arch::surviving(extent, axis, *selection, dense_.dims(), &full);
      if (out) {
        std::vector<std::int64_t> both;
        std::set_intersection(out->begin(), out->end(), these.begin(), these.end(),
                              std::back_inserter(both));
        these = std::move(both);
      }
      out = std::move(these);
    };
    cut(Axis::kv_groups, kept.kv_groups);
    cut(Axis::q_per_kv, kept.q_per_kv);
    cut(Axis::ffn, kept.ffn);
    if (!out) return std::nullopt;
    return as_index(*out);
  }
  // Stores the refitted readers, with the rows that stay.
  void take_readers(const model::Transformer& layer, int source, const std::vector<Role>& readers,
                    const plan::LayerSelection& kept, SequentialResult& out) const {
    const arch::LayerDims& full = dense_.dims().layers[static_cast<std::size_t>(source)];
    for (const Role role : readers) {
      torch::Tensor w = layer.weight(role, 0);
      if (const auto rows = kept_positions(arch::find_spec(dense_.arch(), role)->rows, kept, full))
        w = w.index_select(0, *rows);
      out.replaced[{role, source}] = w;
    }
  }

  // A model of this one layer with the hidden selection applied, all of its KV groups and the full
  // ffn.
  model::Transformer one_layer_model(int source) const {
    const arch::ModelDims& d = dense_.dims();
    const arch::LayerDims& full = d.layers[static_cast<std::size_t>(source)];
    arch::ModelDims dims = d;
    dims.vocab = 1;
    dims.tied = true;
    if (in_.hidden) dims.hidden = static_cast<std::int64_t>(in_.hidden->size());
    dims.layers = {full};
    model::Transformer out(dense_.arch(), dims, {});
    for (const arch::TensorSpec& spec : dense_.arch().layer) {
      if (!arch::present(spec, d) || arch::in_absent_block(spec.role, full)) continue;
      torch::Tensor w = dense_.weight(spec.role, source);
      const auto kept = [&](const auto& axes) {
        return as_index(arch::surviving(axes, Axis::hidden, *in_.hidden, d, &full));
      };
      if (in_.hidden && touches(spec.rows, Axis::hidden)) w = w.index_select(0, kept(spec.rows));
      if (in_.hidden && !absent(spec.cols) && touches(spec.cols, Axis::hidden))
        w = w.index_select(1, kept(spec.cols));
      out.weight(spec.role, 0).copy_(w);
    }
    return out;
  }

  // With compensation, the criterion sees the consumer after a refit with all channels. Cutting
  // starts from that matrix.
  std::vector<double> scores(const model::Transformer& layer, const NormalEquations& normal,
                             const torch::Tensor& all, Role consumer, Axis axis) const {
    Statistics statistics;
    statistics.tokens = in_.windows.numel();
    statistics.layers.resize(1);
    LayerStatistics& s = statistics.layers[0];
    (axis == Axis::ffn ? s.ffn_gram : s.attn_gram) = normal.gram;
    (axis == Axis::ffn ? s.ffn_squares : s.attn_squares) = normal.gram.diagonal();
    (axis == Axis::ffn ? s.ffn_abs : s.attn_abs) = normal.abs_sum;
    model::Transformer fitted = layer;
    if (in_.compensation == Compensation::least_squares)
      fitted.weight(consumer, 0) = refit(normal, layer.weight(consumer, 0), all, in_.ridge);
    return in_.criterion.score({fitted, statistics}, axis, 0);
  }

  // One layer being cut.
  struct LayerCut {
    model::Transformer layer;
    int source, next;  // in the dense model: the layer itself, and the next kept layer
    const arch::LayerDims &full, &size;
    DenseTargets targets;
    plan::LayerSelection selection;  // as given, or empty until it is chosen
    bool given;
  };

  plan::LayerSelection cut_layer(int source, int next, const arch::LayerDims& size,
                                 const plan::LayerSelection* given, SequentialResult& out) {
    // Dense targets: the stream after this layer's attention, and dense_streams_, the stream where
    // the next kept layer begins.
    DenseTargets targets;
    advance_dense(&targets);
    while (dense_at_ < next) advance_dense();
    LayerCut cut{one_layer_model(source),
                 source,
                 next,
                 dense_.dims().layers[static_cast<std::size_t>(source)],
                 size,
                 std::move(targets),
                 given != nullptr ? *given : plan::LayerSelection{},
                 given != nullptr};
    if (cut.full.kv_groups > 0) cut_attention(cut, out);
    if (cut.full.ffn > 0) cut_ffn(cut, out);
    if (next > source + 1) pruned_differs_ = true;
    dense_.unload_layer(source);
    return cut.selection;
  }

  // A plan may remove a whole block of a layer. The stream passes by, and later matrices make up
  // for it.
  bool goes_whole(const plan::Selection& kept) {
    if (!kept || !kept->empty()) return false;
    pruned_differs_ = true;
    return true;
  }

  // Takes the pruned streams from before the layer to after its attention.
  void cut_attention(LayerCut& cut, SequentialResult& out) {
    if (goes_whole(cut.selection.kv_groups)) return;
    const bool cut_groups = cut.given ? cut.selection.kv_groups || cut.selection.q_per_kv
                                      : cut.size.kv_groups < cut.full.kv_groups,
               refits = compensates() && stream_differs();
    const std::vector<Role> readers = arch::attention_inputs(dense_.arch());
    if (refits)
      refit_readers(cut.layer, cut.source, Role::attn_norm, readers, pruned_streams_,
                    cut.targets.attention_in);
    cut.targets.attention_in.clear();
    std::vector<torch::Tensor> mixes(pruned_streams_.size());
    for (std::size_t b = 0; b < pruned_streams_.size(); ++b)
      mixes[b] = cut.layer.attention_mix(0, pruned_streams_[b]);
    torch::Tensor output = cut.layer.weight(Role::attn_output, 0);
    if (cut_groups || refits) {
      NormalEquations normal;
      for (std::size_t b = 0; b < pruned_streams_.size(); ++b)
        add_equations(normal, cut.layer, Role::attn_output_bias, mixes[b], pruned_streams_[b],
                      cut.targets.mid[b], cut.targets.attention_products, b);
      torch::Tensor channels = torch::arange(normal.gram.size(0), torch::kInt64);
      if (cut_groups) {
        if (!cut.given)
          cut.selection.kv_groups =
              keep_highest(scores(cut.layer, normal, channels, Role::attn_output, Axis::kv_groups),
                           cut.size.kv_groups);
        const plan::LayerSelection heads{cut.selection.kv_groups, cut.selection.q_per_kv, {}};
        channels =
            kept_positions(arch::find_spec(dense_.arch(), Role::attn_output)->cols, heads, cut.full)
                .value_or(channels);
        // Heads do not see each other.
        for (torch::Tensor& mix : mixes) mix = mix.index_select(-1, channels);
      }
      output = compensates() ? refit(normal, output, channels, in_.ridge)
                             : output.index_select(1, channels);
      if (compensates()) {
        out.replaced[{Role::attn_output, cut.source}] = output;
        pruned_differs_ = true;
      }
    }
    if (refits) take_readers(cut.layer, cut.source, readers, cut.selection, out);
    cut.layer.weight(Role::attn_output, 0) = output;
    for (std::size_t b = 0; b < pruned_streams_.size(); ++b) {
      pruned_streams_[b] = pruned_streams_[b] + cut.layer.attention_output(0, mixes[b]);
      mixes[b].reset();
    }
  }

  // Takes the pruned streams from after the attention to after the layer.
  void cut_ffn(LayerCut& cut, SequentialResult& out) {
    if (goes_whole(cut.selection.ffn)) return;
    const bool narrower = cut.given ? cut.selection.ffn.has_value() : cut.size.ffn < cut.full.ffn,
               refits = compensates() && stream_differs();
    const std::vector<Role> readers = arch::ffn_inputs(dense_.arch());
    if (refits)
      refit_readers(cut.layer, cut.source, Role::ffn_norm, readers, pruned_streams_,
                    cut.targets.ffn_in);
    cut.targets.ffn_in.clear();
    std::vector<torch::Tensor> activations(pruned_streams_.size());
    NormalEquations normal;
    for (std::size_t b = 0; b < pruned_streams_.size(); ++b) {
      activations[b] = cut.layer.ffn_activation(0, pruned_streams_[b]);
      add_equations(normal, cut.layer, Role::ffn_down_bias, activations[b], pruned_streams_[b],
                    on_hidden(dense_streams_[b], -1), cut.targets.ffn_products, b);
    }
    torch::Tensor down = cut.layer.weight(Role::ffn_down, 0);
    torch::Tensor channels = torch::arange(cut.full.ffn, torch::kInt64);
    if (narrower) {
      if (!cut.given)
        cut.selection.ffn = keep_highest(
            scores(cut.layer, normal, channels, Role::ffn_down, Axis::ffn), cut.size.ffn);
      channels = as_index(*cut.selection.ffn);
    }
    if (compensates() && (narrower || cut.next > cut.source + 1 || stream_differs())) {
      down = refit(normal, down, channels, in_.ridge);
      out.replaced[{Role::ffn_down, cut.source}] = down;
      pruned_differs_ = true;
    } else {
      down = down.index_select(1, channels);
    }
    if (refits) take_readers(cut.layer, cut.source, readers, cut.selection, out);
    cut.layer.weight(Role::ffn_down, 0) = down;
    for (std::size_t b = 0; b < pruned_streams_.size(); ++b) {
      const torch::Tensor kept =
          narrower ? activations[b].index_select(-1, channels) : activations[b];
      pruned_streams_[b] = pruned_streams_[b] + cut.layer.ffn_output(0, kept);
    }
  }

  bool compensates() const { return in_.compensation == Compensation::least_squares; }
  // The pruned stream differs from the dense stream.
  bool stream_differs() const { return pruned_differs_ || in_.hidden.has_value(); }

  const SequentialInput& in_;
  const core::Progress& progress_;
  // Holds one layer at a time when it was opened instead of loaded.
  model::Transformer dense_;
  int dense_at_ = 0;             // layers that the dense streams have passed
  bool pruned_differs_ = false;  // the pruned stream differs from the dense one
  std::vector<torch::Tensor> dense_streams_, pruned_streams_;  // [batch, T, H] each
};

}  // namespace

double default_ridge(std::int64_t tokens) {
  constexpr double kFewTokens = 24576, kManyTokens = 65536;
  const double way = std::clamp(
      std::log(static_cast<double>(tokens) / kFewTokens) / std::log(kManyTokens / kFewTokens), 0.0,
      1.0);
  return 0.2 * std::pow(0.25, way);
}

SequentialResult prune_sequentially(const SequentialInput& input, const core::Progress& progress) {
  torch::InferenceMode inference;
  return LayerwisePass(input, progress).run();
}

}  // namespace espalier::prune
