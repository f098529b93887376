// SPDX-License-Identifier: Apache-2.0
// Rounding as an edit of the pass that lets one model follow another.
#include "calibrate/sequential_rounding.h"

#include <map>
#include <utility>

#include "calibrate/windows.h"
#include "core/error.h"
#include "core/thread_pool.h"
#include "layerwise/follow.h"
#include "layerwise/walk.h"
#include "quant/range.h"
#include "quant/rounding.h"

namespace espalier::calibrate {
namespace {

using arch::Role;
using torch::Tensor;

constexpr double kRidge = 5e-2;  // times the mean diagonal of the second moments

quant::TensorStatistics statistics_of(const layerwise::NormalEquations& sums) {
  quant::TensorStatistics out;
  out.tokens = static_cast<double>(sums.tokens);
  const Tensor squares = sums.gram.diagonal().contiguous(),
               single = sums.gram.to(torch::kFloat32).contiguous();
  out.sum_squares.assign(squares.data_ptr<double>(), squares.data_ptr<double>() + squares.numel());
  out.gram = std::make_shared<const std::vector<float>>(single.data_ptr<float>(),
                                                        single.data_ptr<float>() + single.numel());
  return out;
}

std::vector<std::int64_t> all_layers(const arch::ModelDims& dims) {
  std::vector<std::int64_t> out(dims.layers.size());
  for (std::size_t l = 0; l < out.size(); ++l) out[l] = static_cast<std::int64_t>(l);
  return out;
}

// Rounds each matrix by GPTQ. What it rounded is kept as bytes until the next layer begins.
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
    std::vector<std::byte>& out = bytes[role];
    out = quant::round_matrix({w.data_ptr<float>(), n}, w.size(0), w.size(1), format,
                              quant::Rounding::gptq, &statistics, pool_, &cache_);
    const std::vector<float> values = quant::decode_matrix(out, w.size(0), w.size(1), format);
    return torch::from_blob(const_cast<float*>(values.data()), w.sizes(), torch::kFloat32).clone();
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
  Tensor matrix(const layerwise::BlockEdit& edit, Role role, Tensor weights,
                const layerwise::NormalEquations& inputs) override {
    return round(role, edit.source, weights, statistics_of(inputs));
  }

  std::map<Role, std::vector<std::byte>> bytes;

 private:
  const plan::QuantPlan& plan_;
  const quant::Imatrix& imatrix_;
  core::ThreadPool pool_;
  quant::FactorCache cache_;
};

}  // namespace

struct SequentialRounding::State {
  const quant::Imatrix& imatrix;
  Round round;
  layerwise::Follow follow;
  layerwise::Walk walk;

  State(const checkpoint::Checkpoint& source, const plan::QuantPlan& plan,
        const quant::Imatrix& statistics, const data::Corpus& corpus,
        const CalibrateOptions& options, int threads)
      : imatrix(statistics),
        round(plan, statistics, threads),
        follow({.keep_layers = all_layers(source.dims()),
                .refit_equal_streams = true,
                .ridge = kRidge,
                .reader_dtype = torch::kFloat64},
               {&round}),
        walk(model::Transformer::open(source), draw_windows(corpus, options, source.dims().vocab),
             {&follow}) {}

  void advance() {
    round.bytes.clear();
    walk.step();
    follow.layers().back() = {};  // the bytes are all that is asked for
  }
};

SequentialRounding::SequentialRounding(const checkpoint::Checkpoint& source,
                                       const plan::QuantPlan& plan, const quant::Imatrix& imatrix,
                                       const data::Corpus& corpus, const CalibrateOptions& options,
                                       int threads) {
  const torch::InferenceMode inference;
  state_ = std::make_unique<State>(source, plan, imatrix, corpus, options, threads);
}
SequentialRounding::~SequentialRounding() = default;

std::optional<std::vector<std::byte>> SequentialRounding::rounded(Role role, int layer) {
  const torch::InferenceMode inference;
  State& s = *state_;
  if (layer < 0 && role != Role::token_embd) {
    const auto* statistics = s.imatrix.find(role, -1);
    if (statistics == nullptr) return std::nullopt;
    const model::Transformer& model = s.walk.model();
    s.round.round(role, -1, model.rows(role, -1, 0, model.dims().vocab), *statistics);
    return std::move(s.round.bytes[role]);
  }
  while (layer >= s.walk.next()) s.advance();
  const auto it = s.round.bytes.find(role);
  if (it == s.round.bytes.end() && layer < 0) return std::nullopt;
  ESP_CHECK(it != s.round.bytes.end() && (layer < 0 || layer == s.walk.next() - 1), internal,
            "sequential rounding: ", arch::role_name(role), " of layer ", layer,
            " was requested out of order");
  return std::move(it->second);
}

}  // namespace espalier::calibrate
