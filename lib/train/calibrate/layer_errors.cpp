// SPDX-License-Identifier: Apache-2.0
// Layer errors as a visitor of the walk. Followed matrices are streams of their own, which go
// through every later layer beside the exact one.
#include "calibrate/layer_errors.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <vector>

#include "core/error.h"
#include "core/rank_correlation.h"
#include "core/thread_pool.h"
#include "layerwise/walk.h"
#include "layerwise/windows.h"
#include "plan/memory.h"
#include "plan/quant_plan.h"
#include "quant/range.h"
#include "quant/rounding.h"

namespace espalier::calibrate {
namespace {

using arch::Role;
using quant::kFollowedMatrices;
using quant::kLayerErrorTokens;
using torch::Tensor;
using Key = LayerErrors::Key;

constexpr std::int64_t kSequence = 256;  // of a window at most
// Below it a divergence is the rounding of float32.
constexpr double kLeastNats = 1e-7;

// The beginnings of as many windows as there are tokens to read.
Tensor beginnings(const data::Mixture& texts, const text::CalibrationOptions& options,
                  std::int64_t vocab) {
  const Tensor all = layerwise::draw_windows(texts, options, vocab);
  const std::int64_t length = std::min(all.size(1), kSequence);
  const std::int64_t n = std::min(all.size(0), kLayerErrorTokens / length);
  return all.narrow(0, 0, n).narrow(1, 0, length).contiguous();
}

// Rounds a matrix alone, to Q4_0. One that Q4_0 cannot hold, or holds exactly because it was
// rounded to it before, is rounded to MXFP4.
class Rounder {
 public:
  Rounder(const quant::Imatrix& imatrix, int threads) : imatrix_(imatrix), pool_(threads) {}

  struct Rounded {
    format::FormatId format;
    Tensor values;
    double own_error;  // of its outputs, relative to their energy
  };
  Rounded operator()(Role role, int layer, const Tensor& weights) {
    const Tensor w = weights.to(torch::kFloat32).contiguous();
    const quant::TensorStatistics* found = imatrix_.find(role, layer);
    quant::RangeCheck range(w.size(-1), format::FormatId::q4_0);
    range.add(values_of(w), pool_);
    if (range.refusal().empty())
      if (Rounded out = rounded_to(format::FormatId::q4_0, w, found); out.own_error > kExact)
        return out;
    return rounded_to(format::FormatId::mxfp4, w, found);
  }

 private:
  static constexpr double kExact = 1e-9;

  static std::span<const float> values_of(const Tensor& w) {
    return {w.const_data_ptr<float>(), static_cast<std::size_t>(w.numel())};
  }
  Rounded rounded_to(format::FormatId format, const Tensor& w,
                     const quant::TensorStatistics* found) {
    const std::int64_t cols = w.size(-1), rows = w.numel() / cols;
    const quant::RoundingBy by{
        found != nullptr ? quant::Rounding::imatrix : quant::Rounding::nearest, found};
    const auto bytes = quant::round_matrix(values_of(w), rows, cols, format, by, pool_);
    const std::vector<float> decoded = quant::decode_matrix(bytes, rows, cols, format);
    const std::vector<float> zeros(decoded.size(), 0.0f);
    const quant::TensorStatistics weights = diagonal(found, cols);
    const double error = quant::output_error(values_of(w), decoded, rows, cols, weights),
                 energy = quant::output_error(values_of(w), zeros, rows, cols, weights);
    return {format, layerwise::view_of(decoded).view(w.sizes()).clone(),
            error / std::max(energy, 1e-30)};
  }
  static quant::TensorStatistics diagonal(const quant::TensorStatistics* found, std::int64_t cols) {
    if (found != nullptr) return {found->sum_squares, nullptr, found->tokens};
    return {std::vector<double>(static_cast<std::size_t>(cols), 1.0), nullptr, 1};
  }
  const quant::Imatrix& imatrix_;
  core::ThreadPool pool_;
};

bool measured(const arch::TensorRef& t) {
  return !t.is_vector && t.elements() > 0 && !plan::stays_f32(t.spec->role) && t.cols % 32 == 0;
}

// A model with one matrix rounded, as far as the walk has come.
struct Followed {
  Key key;
  Tensor states;
};

class Probe : public layerwise::Visitor {
 public:
  Probe(const checkpoint::Checkpoint& source, const quant::Imatrix& imatrix, int threads)
      : rounder_(imatrix, threads) {
    for (const arch::TensorRef& t : arch::tensors(source.arch(), source.dims()))
      if (measured(t)) matrices_.push_back(t);
    choose_followed();
  }

  // The tokens are embedded as rounded.
  void begin(model::Transformer& model, const Tensor& ids,
             const layerwise::Stream& stream) override {
    input_ = stream.states.clone();
    const auto has = [&](Role role) {
      return std::any_of(matrices_.begin(), matrices_.end(),
                         [&](const auto& t) { return t.spec->role == role; });
    };
    if (has(Role::token_embd)) {
      model::Transformer other = model;
      other.set_weight(Role::token_embd, -1, round_table(model, Role::token_embd));
      followed_.push_back({{Role::token_embd, -1}, other.embed(ids)});
    }
    has_output_ = has(Role::output);
  }

  void layer_end(model::Transformer& model, int layer, const layerwise::Stream& stream) override {
    for (Followed& f : followed_) f.states = model.layer(layer, f.states);
    const Tensor energy = stream.states.square().sum(-1).clamp_min(1e-30);
    for (const arch::TensorRef& t : matrices_) {
      if (t.layer != layer) continue;
      const Key key(t.spec->role, layer);
      const Tensor weight = model.weight(key.first, layer);
      const Rounder::Rounded rounded = rounder_(key.first, layer, weight);
      model.set_weight(key.first, layer, rounded.values);
      Tensor states = model.layer(layer, input_);
      model.set_weight(key.first, layer, weight);
      out_.added[key] = ((states - stream.states).square().sum(-1) / energy).mean().item<double>();
      out_.nats[key] = {rounded.format, 0};
      if (!to_follow_.contains(key)) continue;
      out_.own_outputs[key] = rounded.own_error;
      followed_.push_back({key, std::move(states)});
    }
    input_ = stream.states.clone();
  }

  // The divergences of those that were followed. Window by window: logits are wide.
  LayerErrors finish(model::Transformer model, const layerwise::Stream& stream) {
    model.load_output();
    if (has_output_) followed_.push_back({{Role::output, -1}, stream.states});
    const Role output = model.output_role();
    std::optional<model::Transformer> rounded;  // with the output matrix rounded
    if (has_output_ || out_.nats.contains({output, -1})) {
      rounded.emplace(model);
      rounded->set_weight(output, -1, round_table(model, output));
    }
    const double tokens = static_cast<double>(stream.states.size(0) * stream.states.size(1));
    for (std::int64_t w = 0; w < stream.states.size(0); ++w) {
      const Tensor exact = log_probabilities(model, stream.states.narrow(0, w, 1));
      for (const Followed& f : followed_) {
        const bool is_output = f.key.second < 0 && f.key.first == output;
        const Tensor found =
            log_probabilities(is_output ? *rounded : model, f.states.narrow(0, w, 1));
        out_.followed[f.key] +=
            (exact.exp() * (exact - found)).sum(-1).sum(torch::kFloat64).item<double>() / tokens;
      }
    }
    return std::move(out_);
  }

 private:
  // Evenly over the layers, and of every kind in turn.
  void choose_followed() {
    std::map<int, std::vector<Key>> by_layer;
    std::size_t all = 0;
    for (const arch::TensorRef& t : matrices_)
      if (t.layer >= 0) {
        by_layer[t.layer].emplace_back(t.spec->role, t.layer);
        ++all;
      }
    const std::size_t n = std::min(kFollowedMatrices, all);
    for (std::size_t i = 0; i < n; ++i) {
      const auto place = static_cast<std::ptrdiff_t>(i * by_layer.size() / n);
      const std::vector<Key>& keys = std::next(by_layer.begin(), place)->second;
      to_follow_.insert(keys[i % keys.size()]);
    }
  }
  Tensor round_table(const model::Transformer& model, Role role) {
    const Rounder::Rounded rounded =
        rounder_(role, -1, model.rows(role, -1, 0, model.dims().vocab));
    out_.nats[{role, -1}] = {rounded.format, 0};
    return rounded.values;
  }
  static Tensor log_probabilities(const model::Transformer& model, const Tensor& states) {
    return torch::log_softmax(model.logits(model.final_norm(states)), -1);
  }

  Rounder rounder_;
  std::vector<arch::TensorRef> matrices_;
  std::set<Key> to_follow_;
  bool has_output_ = false;
  Tensor input_;  // the exact stream before the layer
  std::vector<Followed> followed_;
  LayerErrors out_;
};

// A line through points, by least squares. Through fewer than two it is level.
struct Line {
  double at_0 = 0, slope = 0;
  double at(double x) const { return at_0 + slope * x; }
};
struct Point {
  double x, y;
};
Line fitted(const std::vector<Point>& points, std::size_t but) {
  double n = 0, x = 0, y = 0, xx = 0, xy = 0;
  for (std::size_t i = 0; i < points.size(); ++i) {
    if (i == but) continue;
    n += 1;
    x += points[i].x;
    y += points[i].y;
    xx += points[i].x * points[i].x;
    xy += points[i].x * points[i].y;
  }
  if (n == 0) return {};
  const double spread = xx - x * x / n;
  const double slope = spread > 1e-9 * xx ? (xy - x * y / n) / spread : 0;
  return {(y - slope * x) / n, slope};
}

// Turns e into nats, and compares their order with that of the divergences.
void to_nats(LayerErrors& errors) {
  std::vector<Point> points;  // of log(D / e), where both are more than rounding
  std::vector<double> added, followed, own;
  for (const auto& [key, nats] : errors.followed) {
    if (key.second < 0) continue;
    const double e = errors.added.at(key);
    if (nats < kLeastNats || !(e > 0)) continue;
    points.push_back({static_cast<double>(key.second), std::log(nats / e)});
    added.push_back(e);
    followed.push_back(nats);
    own.push_back(errors.own_outputs.at(key));
  }
  const Line line = fitted(points, points.size());
  for (auto& [key, nats] : errors.nats) {
    const auto direct = errors.followed.find(key);
    nats.error = key.second < 0 ? std::max(0.0, direct->second)
                                : errors.added.at(key) * std::exp(line.at(key.second));
  }
  if (points.size() < 3) return;
  std::vector<double> predicted;
  for (std::size_t i = 0; i < points.size(); ++i)
    predicted.push_back(added[i] * std::exp(fitted(points, i).at(points[i].x)));
  errors.rank_correlation = rank_correlation(predicted, followed);
  errors.rank_correlation_of_own = rank_correlation(own, followed);
}

}  // namespace

LayerErrors measure_layer_errors(const checkpoint::Checkpoint& source, const data::Mixture& texts,
                                 const text::CalibrationOptions& options,
                                 const quant::Imatrix& imatrix, int threads,
                                 const core::Progress& progress) {
  const torch::InferenceMode inference;
  const Tensor windows = beginnings(texts, options, source.dims().vocab);
  Probe probe(source, imatrix, threads);
  layerwise::Walk walk(
      model::Transformer::open(source), windows, {&probe},
      {.stage = "layer errors", .progress = progress, .batch_tokens = windows.numel()});
  walk.run();
  LayerErrors out = probe.finish(walk.model(), walk.stream());
  to_nats(out);
  return out;
}

std::int64_t layer_errors_memory(const arch::Arch& arch, const arch::ModelDims& dims,
                                 std::int64_t held) {
  const auto with = [&](std::int64_t batch_tokens, std::int64_t more) {
    return plan::layer_stage_memory(arch, dims,
                                    {.tokens = kLayerErrorTokens,
                                     .batch_tokens = batch_tokens,
                                     .sums = false,
                                     .streams = static_cast<int>(kFollowedMatrices) + 4,
                                     .more = held + more});
  };
  // A matrix with what it is rounded to. The output matrix, rounded and as it is, with both logits
  // of a window.
  const std::int64_t matrix = 8 * plan::largest_layer(arch, dims),
                     output = 12 * dims.vocab * dims.hidden + 16 * kSequence * dims.vocab;
  return std::max(with(kLayerErrorTokens, matrix), with(0, output));
}

double rank_correlation(const std::vector<double>& a, const std::vector<double>& b) {
  ESP_CHECK(a.size() == b.size(), internal, "rank correlation of ", a.size(), " and ", b.size(),
            " values");
  const double found = core::spearman(a, b);
  return std::isfinite(found) ? found : 0;
}

}  // namespace espalier::calibrate
