#include "calibrate/sequential_rounding.h"

#include <map>
#include <utility>

#include "calibrate/windows.h"
#include "core/error.h"
#include "core/thread_pool.h"
#include "model/functions.h"
#include "model/gram.h"
#include "model/transformer.h"
#include "quant/rounding.h"

namespace espalier::calibrate {
namespace {

using arch::Role;
using torch::Tensor;

constexpr double kRidge = 5e-2;  // of the mean diagonal of the second moments

// Sums over tokens of b b^T and b t^T: what the correction and the rounding of the readers of b need.
struct Normal {
  Tensor gram, cross;  // float64 [n, n], [n, m]
  double tokens = 0;
  void add(const Tensor& b_BTN, const Tensor& t_BTM) {
    const Tensor b = b_BTN.reshape({-1, b_BTN.size(-1)});
    const Tensor g = model::gram(b).to(torch::kFloat64), c = b.t().matmul(t_BTM.reshape({b.size(0), -1})).to(torch::kFloat64);
    gram = gram.defined() ? gram.add_(g) : g;
    cross = cross.defined() ? cross.add_(c) : c;
    tokens += static_cast<double>(b.size(0));
  }
  // (cross^T + lambda W) (gram + lambda I)^-1 for the prior W [m, n]; float64 [m, n]
  Tensor solve(const Tensor& prior) const {
    const double lambda = kRidge * gram.diagonal().mean().item<double>() + 1e-30;
    const Tensor damped = gram + lambda * torch::eye(gram.size(0), gram.options());
    return torch::cholesky_solve(cross + lambda * prior.t(), torch::linalg_cholesky(damped)).t();
  }
  quant::TensorStatistics statistics() const {
    quant::TensorStatistics out;
    out.tokens = tokens;
    const Tensor squares = gram.diagonal().contiguous(), single = gram.to(torch::kFloat32).contiguous();
    out.sum_squares.assign(squares.data_ptr<double>(), squares.data_ptr<double>() + squares.numel());
    out.gram = std::make_shared<const std::vector<float>>(single.data_ptr<float>(), single.data_ptr<float>() + single.numel());
    return out;
  }
};

}  // namespace

struct SequentialRounding::State {
  const plan::QuantPlan& plan;
  const quant::Imatrix& imatrix;
  model::Transformer model;  // layers before `next` hold rounded weights
  core::ThreadPool pool;
  quant::FactorCache cache;
  std::vector<Tensor> exact, approximate;  // residual streams [B, T, H]
  int next = 0;
  std::map<Role, std::vector<std::byte>> bytes;  // of layer next - 1

  std::vector<std::byte> round(Role role, int layer, const Tensor& weights, const quant::TensorStatistics& statistics) {
    const Tensor w = weights.to(torch::kFloat32).contiguous();
    const format::FormatId format = plan.format_of(role, layer);
    const auto n = static_cast<std::size_t>(w.numel());
    std::vector<std::byte> out = quant::round_matrix({w.data_ptr<float>(), n}, w.size(0), w.size(1), format, quant::Rounding::gptq, &statistics, pool, &cache);
    const std::vector<float> values = quant::decode_matrix(out, w.size(0), w.size(1), format);
    model.weight(role, layer) = torch::from_blob(const_cast<float*>(values.data()), w.sizes(), torch::kFloat32).clone();
    return out;
  }

  // q, k, v or gate, up; inputs.cross holds the exact inputs. W' of each is W times one matrix that maps rounded inputs to exact ones.
  void round_readers(int layer, std::initializer_list<Role> roles, const Normal& inputs) {
    const quant::TensorStatistics statistics = inputs.statistics();
    const Tensor map = inputs.solve(torch::eye(inputs.gram.size(0), inputs.gram.options()));
    for (const Role role : roles) bytes[role] = round(role, layer, model.weight(role, layer).to(torch::kFloat64).matmul(map), statistics);
  }
  // Rounds attn_output or ffn_down, whose inputs activation_of computes from the stream before the block, and takes the rounded stream through it.
  template <class ActivationOf>
  void finish_block(int layer, Role role, const std::vector<Tensor>& targets, const ActivationOf& activation_of) {
    Normal outputs;  // cross: what the block has to add to the stream
    std::vector<Tensor> activations(approximate.size());
    for (std::size_t b = 0; b < approximate.size(); ++b) {
      activations[b] = activation_of(approximate[b]);
      const Tensor weight = targets[b].square().mean(-1, true).add(1e-12).rsqrt();
      outputs.add(activations[b] * weight, (targets[b] - approximate[b]) * weight);
    }
    bytes[role] = round(role, layer, outputs.solve(model.weight(role, layer).to(torch::kFloat64)), outputs.statistics());
    for (std::size_t b = 0; b < approximate.size(); ++b) approximate[b] = approximate[b] + activations[b].matmul(model.weight(role, layer).t());
  }
  Tensor normed(const Tensor& x, Role norm, int layer) const { return model::rms_norm(x, model.weight(norm, layer), model.dims().norm_eps); }

  void advance() {
    const int l = next;
    const auto& size = model.dims().layers[static_cast<std::size_t>(l)];
    bytes.clear();
    const std::size_t batches = exact.size();
    std::vector<Tensor> middle = exact;  // the exact stream after attention
    if (size.kv_groups * size.q_per_kv > 0) {
      Normal inputs;
      for (std::size_t b = 0; b < batches; ++b) {
        inputs.add(normed(approximate[b], Role::attn_norm, l), normed(exact[b], Role::attn_norm, l));
        middle[b] = exact[b] + model.attention_mix(l, exact[b]).matmul(model.weight(Role::attn_output, l).t());
      }
      round_readers(l, {Role::attn_q, Role::attn_k, Role::attn_v}, inputs);
      finish_block(l, Role::attn_output, middle, [&](const Tensor& x) { return model.attention_mix(l, x); });
    }
    if (size.ffn > 0) {
      Normal inputs;
      for (std::size_t b = 0; b < batches; ++b) {
        inputs.add(normed(approximate[b], Role::ffn_norm, l), normed(middle[b], Role::ffn_norm, l));
        exact[b] = middle[b] + model.ffn_activation(l, middle[b]).matmul(model.weight(Role::ffn_down, l).t());
      }
      round_readers(l, {Role::ffn_gate, Role::ffn_up}, inputs);
      finish_block(l, Role::ffn_down, exact, [&](const Tensor& x) { return model.ffn_activation(l, x); });
    }
    ++next;
  }
};

SequentialRounding::SequentialRounding(const checkpoint::Checkpoint& source, const plan::QuantPlan& plan, const quant::Imatrix& imatrix,
                                       const data::Corpus& corpus, const CalibrateOptions& options, int threads)
    : state_(new State{plan, imatrix, model::Transformer::load(source, {}), core::ThreadPool(threads), {}, {}, {}, 0, {}}) {
  const torch::InferenceMode inference;
  State& s = *state_;
  const std::vector<Tensor> batches = split_batches(draw_windows(corpus, options, source.dims().vocab));
  for (const Tensor& batch : batches) s.exact.push_back(s.model.embed(batch));
  if (const auto* statistics = imatrix.find(Role::token_embd, -1); statistics != nullptr)
    s.bytes[Role::token_embd] = s.round(Role::token_embd, -1, s.model.weight(Role::token_embd, -1), *statistics);
  for (const Tensor& batch : batches) s.approximate.push_back(s.model.embed(batch));
}
SequentialRounding::~SequentialRounding() = default;

std::optional<std::vector<std::byte>> SequentialRounding::rounded(Role role, int layer) {
  const torch::InferenceMode inference;
  State& s = *state_;
  if (layer < 0 && role != Role::token_embd) {
    const auto* statistics = s.imatrix.find(role, -1);
    if (statistics == nullptr) return std::nullopt;
    return s.round(role, -1, s.model.weight(role, -1), *statistics);
  }
  while (layer >= s.next) s.advance();
  const auto it = s.bytes.find(role);
  if (it == s.bytes.end() && layer < 0) return std::nullopt;
  ESP_CHECK(it != s.bytes.end() && (layer < 0 || layer == s.next - 1), internal, "sequential rounding: ", arch::role_name(role), " of layer ", layer,
            " was asked for out of order");
  return std::move(it->second);
}

}  // namespace espalier::calibrate
