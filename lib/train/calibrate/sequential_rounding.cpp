// SPDX-License-Identifier: Apache-2.0
// Rounding as an edit of the pass that lets one model follow another.
#include "calibrate/sequential_rounding.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <span>
#include <string>
#include <utility>

#include "core/error.h"
#include "core/thread_pool.h"
#include "hash/sha256.h"
#include "layerwise/follow.h"
#include "layerwise/walk.h"
#include "layerwise/windows.h"
#include "quant/range.h"
#include "quant/rounding.h"

namespace espalier::calibrate {
namespace {

using arch::Role;
using torch::Tensor;

quant::TensorStatistics statistics_of(const layerwise::NormalEquations& sums) {
  return {layerwise::vector_of<double>(sums.gram.diagonal()),
          std::make_shared<const std::vector<float>>(
              layerwise::vector_of<float>(sums.gram.to(torch::kFloat32))),
          static_cast<double>(sums.tokens)};
}

std::vector<std::int64_t> all_layers(const arch::ModelDims& dims) {
  std::vector<std::int64_t> out(dims.layers.size());
  for (std::size_t l = 0; l < out.size(); ++l) out[l] = static_cast<std::int64_t>(l);
  return out;
}

// Rounding refits matrices that keep their columns. At 12,288 tokens, 0.05 has 1.16 times the
// divergence of 0.2, and with more tokens less is best: the ridge is interpolated log-log between
// the two numbers of tokens and constant outside.
double ridge_of(std::int64_t tokens) {
  constexpr double kFewTokens = 24576, kManyTokens = 65536;
  const double way = std::clamp(
      std::log(static_cast<double>(tokens) / kFewTokens) / std::log(kManyTokens / kFewTokens), 0.0,
      1.0);
  return 0.2 * std::pow(0.25, way);
}

using Bytes = std::map<std::pair<Role, int>, std::vector<std::byte>>;

// Rounds each matrix by GPTQ, and keeps what it rounded as bytes.
class Round : public layerwise::Edit {
 public:
  Round(const plan::QuantPlan& plan, const quant::Imatrix& imatrix, int threads)
      : plan_(plan), imatrix_(imatrix), pool_(threads) {}

  // What the bytes of a matrix decode to.
  Tensor round(Role role, int layer, const Tensor& weights,
               const quant::TensorStatistics& statistics) {
    const Tensor w = weights.to(torch::kFloat32).contiguous();
    const format::FormatId format = plan_.format_of(role, layer);
    const auto n = static_cast<std::size_t>(w.numel());
    quant::RangeCheck range(w.size(1), format);
    range.add({w.data_ptr<float>(), n}, pool_);
    ESP_CHECK(range.refusal().empty(), input,
              "refitted to the rounded layers before: ", range.refusal());
    std::vector<std::byte>& out = bytes[{role, layer}];
    out = quant::round_matrix({w.data_ptr<float>(), n}, w.size(0), w.size(1), format,
                              {quant::Rounding::gptq, &statistics, &cache_}, pool_);
    const std::vector<float> values = quant::decode_matrix(out, w.size(0), w.size(1), format);
    return layerwise::view_of(values).view(w.sizes()).clone();
  }

  // The tokens are embedded as rounded, where the embedding has statistics.
  std::optional<Tensor> embed(model::Transformer& model, const Tensor& ids,
                              std::int64_t batch) override {
    const auto* statistics = imatrix_.find(Role::token_embd, -1);
    if (statistics == nullptr) return std::nullopt;
    model::Transformer rounded = model;
    rounded.set_weight(Role::token_embd, -1,
                       round(Role::token_embd, -1,
                             model.rows(Role::token_embd, -1, 0, model.dims().vocab), *statistics));
    std::vector<Tensor> parts;
    for (const Tensor& some : ids.split(batch)) parts.push_back(rounded.embed(some));
    return torch::cat(parts);
  }
  bool all_matrices() const override { return true; }
  Tensor matrix(const layerwise::BlockEdit& edit, Role role, Tensor weights,
                const layerwise::NormalEquations& inputs) override {
    if (role == edit.block.consumer)
      return round(role, edit.source, weights, statistics_of(inputs));
    // The readers of a block have the same inputs, and so one factorization.
    const bool first = role == edit.block.readers.front(),
               last = role == *(edit.block.readers.end() - 1);
    if (first) statistics_ = statistics_of(inputs);
    Tensor out = round(role, edit.source, weights, statistics_);
    if (last) statistics_ = {};
    return out;
  }

  Bytes bytes;

 private:
  const plan::QuantPlan& plan_;
  const quant::Imatrix& imatrix_;
  core::ThreadPool pool_;
  quant::FactorCache cache_;
  quant::TensorStatistics statistics_;  // of the readers that are being rounded
};

std::string role_key(Role role) { return std::to_string(static_cast<int>(role)); }

// The bytes are all that is kept of a layer.
class FollowRounded : public layerwise::Follow {
 public:
  FollowRounded(layerwise::FollowOptions options, Round& round)
      : Follow(std::move(options), {&round}), bytes_(round.bytes) {}
  void layer_end(model::Transformer& model, int layer, const layerwise::Stream& stream) override {
    Follow::layer_end(model, layer, stream);
    layers().back() = {};
  }
  void save_layer(int layer, layerwise::Saved& out) const override {
    for (const auto& [key, bytes] : bytes_)
      if (key.second == layer)
        out.tensors[role_key(key.first)] =
            torch::from_blob(const_cast<std::byte*>(bytes.data()),
                             static_cast<std::int64_t>(bytes.size()), torch::kUInt8);
  }
  void load_layer(int, const layerwise::Saved&) override { layers().emplace_back(); }

 private:
  const Bytes& bytes_;
};

std::string identity(const checkpoint::Checkpoint& source, const plan::QuantPlan& plan,
                     const quant::Imatrix& imatrix, const Tensor& windows,
                     const text::CalibrationOptions& reading) {
  hash::Sha256 statistics;  // of the matrices outside the layers; the others are not read
  for (const auto& [key, found] : imatrix.tensors)
    if (key.second < 0) {
      statistics.update(std::as_bytes(std::span(found.sum_squares)));
      if (found.gram) statistics.update(std::as_bytes(std::span(*found.gram)));
    }
  return layerwise::identity_of({{"verb", "quantize"},
                                 {"algorithm", checkpoint::algorithm_version("quantize")},
                                 {"source", source.sha256()},
                                 {"plan", plan::to_json(plan)},
                                 {"statistics", statistics.hex()}},
                                windows, reading);
}

}  // namespace

struct SequentialRounding::State {
  const quant::Imatrix& imatrix;
  Round round;
  FollowRounded follow;
  checkpoint::WorkFolder work;
  std::optional<layerwise::Walk> walk;

  State(const checkpoint::Checkpoint& source, const plan::QuantPlan& plan,
        const quant::Imatrix& statistics, const Tensor& windows,
        const text::CalibrationOptions& reading, const checkpoint::WorkOptions& options)
      : imatrix(statistics),
        round(plan, statistics, options.threads),
        follow({.keep_layers = all_layers(source.dims()), .ridge = ridge_of(windows.numel())},
               round),
        work(options, identity(source, plan, statistics, windows, reading)) {
    layerwise::begin(work);
    walk.emplace(layerwise::open_for(source, reading), windows,
                 std::vector<layerwise::Visitor*>{&follow},
                 layerwise::WalkOptions{.batch_tokens = reading.batch_tokens, .work = &work});
  }

  // Bytes that no file keeps yet wait in memory.
  void drop_kept() {
    std::erase_if(round.bytes, [&](const auto& entry) {
      return entry.first.second < walk->kept() || !work.keeps();
    });
  }
  void read_back(int layer) {
    drop_kept();
    for (const auto& [role, t] : walk->kept_layer(layer, 0).tensors) {
      const auto* begin = static_cast<const std::byte*>(t.const_data_ptr());
      round.bytes[{static_cast<Role>(std::stoi(role)), layer}] = {begin, begin + t.nbytes()};
    }
  }
};

SequentialRounding::SequentialRounding(const checkpoint::Checkpoint& source,
                                       const plan::QuantPlan& plan, const quant::Imatrix& imatrix,
                                       const data::Mixture& texts,
                                       const text::CalibrationOptions& options,
                                       const checkpoint::WorkOptions& work) {
  const torch::InferenceMode inference;
  text::CalibrationOptions reading = options;
  if (reading.precision == "auto" &&
      plan::bits_per_weight(source.arch(), source.dims(), plan) >= quant::kFineBits)
    reading.precision = "float32";
  state_ = std::make_unique<State>(source, plan, imatrix,
                                   layerwise::draw_windows(texts, options, source.dims().vocab),
                                   reading, work);
}
SequentialRounding::~SequentialRounding() = default;

std::optional<std::vector<std::byte>> SequentialRounding::rounded(Role role, int layer) {
  const torch::InferenceMode inference;
  State& s = *state_;
  const std::pair key(role, layer);
  if (layer < 0 && role != Role::token_embd) {
    const auto* statistics = s.imatrix.find(role, -1);
    if (statistics == nullptr) return std::nullopt;
    const model::Transformer& model = s.walk->model();
    s.round.round(role, -1, model.rows(role, -1, 0, model.dims().vocab), *statistics);
  }
  while (layer >= s.walk->next()) {
    s.drop_kept();
    s.walk->step();
  }
  auto it = s.round.bytes.find(key);
  if (it == s.round.bytes.end() && layer < 0) return std::nullopt;
  if (it == s.round.bytes.end() && layer < s.walk->kept()) {
    s.read_back(layer);
    it = s.round.bytes.find(key);
  }
  ESP_CHECK(it != s.round.bytes.end(), internal, "sequential rounding: ", arch::role_name(role),
            " of layer ", layer, " was requested out of order");
  if (s.work.keeps() && layer >= s.walk->kept()) return it->second;
  return std::move(s.round.bytes.extract(it).mapped());
}

}  // namespace espalier::calibrate
