// SPDX-License-Identifier: Apache-2.0
// One walk over the text, with one factorization and two streams of every block.
#include "prune/curves.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "format/json_input.h"
#include "prune/block_losses.h"
#include "prune/choose.h"

namespace espalier::prune {
namespace {

using arch::Axis;
using torch::Tensor;

constexpr double kCurveDamping = 1e-2;  // times the mean diagonal of G
constexpr double kLeastDrop = 1e-3;     // of the mean: a block that the model does not need
constexpr double kLeastPower = 0.25, kMostPower = 3;  // of shares, whatever was measured

// The channels of units in an order.
Tensor channels_of(const std::vector<std::int64_t>& order, std::int64_t unit) {
  const Tensor first = torch::tensor(order).unsqueeze(1) * unit;
  return (first + torch::arange(unit).unsqueeze(0)).flatten();
}

// The sums of a block in an order of its channels, and its consumer.
struct Ordered {
  Tensor w;     // [H, n]
  Tensor gram;  // [n, n]
  bool refits;
};

Ordered in_order(const Tensor& consumer, const Tensor& gram, const Tensor& channels, bool refits) {
  Ordered out{consumer.to(torch::kFloat64).index_select(1, channels),
              gram.index_select(0, channels).index_select(1, channels), refits};
  if (refits)
    out.gram.diagonal().add_(kCurveDamping * out.gram.diagonal().mean().item<double>() + 1e-30);
  return out;
}

// What each channel adds to what is missing once all behind it are missing.
Tensor missing(const Ordered& o) {
  if (o.refits) return o.w.matmul(torch::linalg_cholesky(o.gram)).square().sum(0);
  const Tensor both = o.w.t().matmul(o.w) * o.gram;
  return both.diagonal() + 2 * both.triu(1).sum(1);
}

// The consumer with its first n columns alone.
Tensor with_first(const Ordered& o, std::int64_t n) {
  const Tensor first = o.w.narrow(1, 0, n);
  if (!o.refits) return first;
  const Tensor factor = torch::linalg_cholesky(o.gram.narrow(0, 0, n).narrow(1, 0, n));
  return torch::cholesky_solve(o.gram.narrow(0, 0, n).matmul(o.w.t()), factor).t();
}

// The share that is missing with the s first of n units.
std::vector<double> shares(const Tensor& per_channel, std::size_t n) {
  const Tensor units = per_channel.view({static_cast<std::int64_t>(n), -1}).sum(1).contiguous();
  std::vector<double> out(n + 1, 0.0);
  for (std::size_t s = n; s-- > 0;)
    out[s] = std::max(out[s + 1], out[s + 1] + units.data_ptr<double>()[s]);
  const double all = out.front();
  for (double& v : out) v = all > 0 ? v / all : 0;
  return out;
}

// Units with which a block is measured as cut. A single one cannot be cut.
std::size_t better_half(std::size_t n) { return (n + 1) / 2; }

class Curves : public layerwise::Visitor {
 public:
  explicit Curves(const CurveInput& input)
      : losses(std::max<std::int64_t>(1, kDropTokens / input.windows.size(1))), in_(input) {}

  bool by_block() const override { return true; }
  void see(model::Tap point, int, std::int64_t, const Tensor& value) override {
    const auto input = model::input_at(in_.model.arch(), point);
    if (input && input->inner) values_.push_back(value);
  }
  void block_end(model::Transformer& model, int layer, const arch::Block& block,
                 const layerwise::Stream& stream) override {
    const Axis axis = block.axis();
    plan::BlockCurve& curve = out.emplace_back();
    curve.layer = static_cast<std::size_t>(layer);
    curve.axis = axis;
    const auto n = static_cast<std::size_t>(in_.model.dims().layers[curve.layer][axis]);
    layerwise::NormalEquations sums = sums_of(model, layer, block, stream);
    curve.order = order_of(model, layer, block, sums);
    const Tensor& consumer = model.weight(block.consumer, layer);
    const std::int64_t unit = consumer.size(1) / static_cast<std::int64_t>(n);
    const Tensor channels = channels_of(curve.order, unit);
    const Ordered o = in_order(consumer, sums.gram, channels, in_.refits);
    sums = {};
    curve.left = shares(missing(o), n);
    const std::int64_t first = static_cast<std::int64_t>(better_half(n)) * unit;
    Tensor cut = torch::zeros_like(consumer);
    cut.index_copy_(1, channels.narrow(0, 0, first), with_first(o, first).to(cut.scalar_type()));
    losses.behind(model, layer, block, stream, values_, cut);
    values_.clear();
  }
  BlockLosses losses;
  std::vector<plan::BlockCurve> out;

 private:
  layerwise::NormalEquations sums_of(const model::Transformer& model, int layer,
                                     const arch::Block& block,
                                     const layerwise::Stream& stream) const {
    layerwise::NormalEquations sums;
    for (std::size_t b = 0; b < values_.size(); ++b) {
      const Tensor given = block.norm_behind
                               ? values_[b].matmul(model.weight(block.consumer, layer).t())
                               : stream.at(static_cast<std::int64_t>(b));
      const Tensor a = values_[b] * layerwise::inverse_rms(given);
      sums.add(a, a.narrow(-1, 0, 1));
      sums.add_abs(a);
    }
    return sums;
  }
  std::vector<std::int64_t> order_of(const model::Transformer& model, int layer,
                                     const arch::Block& block,
                                     const layerwise::NormalEquations& equations) const {
    const Axis axis = block.axis();
    const std::string name = scores_name(axis, layer);
    if (in_.scores.all.contains(name)) return highest_first(in_.scores.at(name));
    std::vector<double> scores(
        static_cast<std::size_t>(in_.model.dims().layers[static_cast<std::size_t>(layer)][axis]),
        0.0);
    if (in_.criterion.axes.contains(axis)) {
      Sums sums;
      for (const std::string_view statistic : in_.criterion.needs)
        statistic_by_name(statistic).of_block(sums, block, layer, equations);
      scores = in_.criterion.score({model, sums, in_.seed}, axis, layer);
    }
    return highest_first(scores);
  }

  const CurveInput& in_;
  std::vector<Tensor> values_;  // per batch, of one block
};

// No block is worth nothing: some text may not need it.
void set_drops(std::vector<plan::BlockCurve>& curves, const std::vector<double>& drops) {
  double mean = 0;
  for (const double d : drops) mean += std::max(d, 0.0) / static_cast<double>(drops.size());
  for (std::size_t i = 0; i < curves.size(); ++i)
    curves[i].drop = mean > 0 ? std::max(drops[i], kLeastDrop * mean) : 1.0;
}

// The curve then goes through both measurements.
void bend(plan::BlockCurve& curve, double cut) {
  const double share = curve.left[better_half(curve.order.size())];
  if (share <= 0 || share >= 1) return;
  const double measured = std::log(std::max(cut, 1e-12) / curve.drop) / std::log(share),
               power = std::clamp(measured, kLeastPower, kMostPower);
  for (double& v : curve.left) v = std::pow(v, power);
}

}  // namespace

std::vector<plan::BlockCurve> measure_curves(const CurveInput& input) {
  const torch::InferenceMode inference;
  Curves curves(input);
  layerwise::WalkOptions walk = input.walk;
  walk.stage = "curves";
  walk.work = nullptr;  // its state is that of one walk
  layerwise::Walk(input.model, input.windows, {&curves}, walk).run();
  const std::vector<BlockLoss> losses = curves.losses.of_blocks(input.model);
  std::vector<double> drops;
  for (const BlockLoss& loss : losses) drops.push_back(loss.gone);
  set_drops(curves.out, drops);
  for (std::size_t i = 0; i < losses.size(); ++i) bend(curves.out[i], losses[i].cut);
  return std::move(curves.out);
}

std::vector<plan::BlockCurve> curves_of_scores(const Scores& scores, const arch::Arch& arch,
                                               const arch::ModelDims& dims,
                                               const std::set<Axis>& axes) {
  std::vector<plan::BlockCurve> out;
  std::vector<double> drops;
  for (const PresentBlock& b : present_blocks(arch, dims)) {
    const Axis axis = b.block->axis();
    plan::BlockCurve& curve = out.emplace_back();
    curve.layer = b.layer;
    curve.axis = axis;
    const auto n = static_cast<std::size_t>(dims.layers[b.layer][axis]);
    const std::string name = scores_name(axis, static_cast<int>(b.layer));
    std::vector<double> of_units(n, 0.0);
    if (axes.contains(axis) || scores.all.contains(name)) of_units = scores.at(name);
    for (std::size_t i = 0; i < n; ++i)
      ESP_CHECK(of_units[i] >= 0, input, name, ": the score of index ", i, " is ", of_units[i],
                ": sizes that differ from layer to layer are chosen by scores that add up to what "
                "is lost, so none may be below 0");
    curve.order = highest_first(of_units);
    std::vector<double> ordered;
    for (const std::int64_t i : curve.order)
      ordered.push_back(of_units[static_cast<std::size_t>(i)]);
    const Tensor values = torch::tensor(ordered, torch::kFloat64);
    curve.left = shares(values, n);
    const std::string whole = block_scores_name(b.block->kind);
    drops.push_back(scores.all.contains(whole) ? scores.at(whole).at(b.layer)
                                               : values.sum().item<double>());
  }
  set_drops(out, drops);
  return out;
}

std::string curves_to_json(const std::vector<plan::BlockCurve>& curves) {
  nlohmann::json out = nlohmann::json::array();
  for (const plan::BlockCurve& c : curves)
    out.push_back({{"layer", c.layer},
                   {"axis", static_cast<int>(c.axis)},
                   {"drop", c.drop},
                   {"left", c.left},
                   {"order", c.order}});
  return out.dump();
}

std::vector<plan::BlockCurve> curves_from_json(const std::string& text, const std::string& where) {
  std::vector<plan::BlockCurve> out;
  for (const nlohmann::json& c : format::parse_json<nlohmann::json>(text, where))
    out.push_back({c.at("layer").get<std::size_t>(), static_cast<Axis>(c.at("axis").get<int>()),
                   c.at("drop").get<double>(), c.at("left").get<std::vector<double>>(),
                   c.at("order").get<std::vector<std::int64_t>>()});
  return out;
}

}  // namespace espalier::prune
