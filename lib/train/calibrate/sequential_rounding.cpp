// SPDX-License-Identifier: Apache-2.0
// The layer loop of sequential rounding: refit, GPTQ, and the two streams.
#include "calibrate/sequential_rounding.h"

#include <map>
#include <utility>

#include "calibrate/windows.h"
#include "core/error.h"
#include "core/thread_pool.h"
#include "model/ridge.h"
#include "model/transformer.h"
#include "quant/range.h"
#include "quant/rounding.h"

namespace espalier::calibrate {
namespace {

using arch::Role;
using torch::Tensor;

constexpr double kRidge = 5e-2;  // times the mean diagonal of the second moments

using model::RidgeSums;

quant::TensorStatistics statistics_of(const RidgeSums& sums) {
  quant::TensorStatistics out;
  out.tokens = static_cast<double>(sums.tokens);
  const Tensor squares = sums.gram.diagonal().contiguous(),
               single = sums.gram.to(torch::kFloat32).contiguous();
  out.sum_squares.assign(squares.data_ptr<double>(), squares.data_ptr<double>() + squares.numel());
  out.gram = std::make_shared<const std::vector<float>>(single.data_ptr<float>(),
                                                        single.data_ptr<float>() + single.numel());
  return out;
}

}  // namespace

struct SequentialRounding::State {
  const plan::QuantPlan& plan;
  const quant::Imatrix& imatrix;
  model::Transformer model;  // holds the weights of one layer at a time
  core::ThreadPool pool;
  quant::FactorCache cache;
  std::vector<Tensor> exact, approximate;  // residual streams [B, T, H]
  int next = 0;
  std::map<Role, std::vector<std::byte>> bytes;  // matrices of layer next - 1

  std::vector<std::byte> round(Role role, int layer, const Tensor& weights,
                               const quant::TensorStatistics& statistics) {
    const Tensor w = weights.to(torch::kFloat32).contiguous();
    const format::FormatId format = plan.format_of(role, layer);
    const auto n = static_cast<std::size_t>(w.numel());
    quant::RangeCheck range(w.size(1), format);
    range.add({w.data_ptr<float>(), n}, pool);
    ESP_CHECK(range.refusal().empty(), input,
              "refitted to the rounded layers before: ", range.refusal());
    std::vector<std::byte> out =
        quant::round_matrix({w.data_ptr<float>(), n}, w.size(0), w.size(1), format,
                            quant::Rounding::gptq, &statistics, pool, &cache);
    const std::vector<float> values = quant::decode_matrix(out, w.size(0), w.size(1), format);
    model.set_weight(
        role, layer,
        torch::from_blob(const_cast<float*>(values.data()), w.sizes(), torch::kFloat32).clone());
    return out;
  }

  // Rounds the matrices that read the normed stream. inputs.cross holds the exact inputs. W' of
  // each is W times one matrix that maps rounded inputs to exact inputs.
  void round_readers(int layer, const std::vector<Role>& roles, const RidgeSums& inputs) {
    const quant::TensorStatistics statistics = statistics_of(inputs);
    const Tensor map = inputs.solve(torch::eye(inputs.gram.size(0), inputs.gram.options()), kRidge);
    for (const Role role : roles)
      bytes[role] =
          round(role, layer, model.weight(role, layer).to(torch::kFloat64).matmul(map), statistics);
  }
  // One of the two blocks of a layer: its matrix that writes to the stream, and the functions that
  // compute that matrix's input and the block's output.
  struct Block {
    Role matrix, bias, post_norm;
    // From the stream to the input of the matrix.
    Tensor (model::Transformer::*activation)(int, const Tensor&) const;
    // From that input to the value added to the stream.
    Tensor (model::Transformer::*output)(int, const Tensor&) const;
  };
  static constexpr Block kAttention{Role::attn_output, Role::attn_output_bias, Role::attn_post_norm,
                                    &model::Transformer::attention_mix,
                                    &model::Transformer::attention_output};
  static constexpr Block kFfn{Role::ffn_down, Role::ffn_down_bias, Role::ffn_post_norm,
                              &model::Transformer::ffn_activation, &model::Transformer::ffn_output};

  // Takes the exact stream through the block. Where a norm follows the block, the matrix can aim
  // only at its own exact products, which are returned.
  std::vector<Tensor> exact_block(int layer, const Block& block) {
    std::vector<Tensor> products;
    for (Tensor& x : exact) {
      const Tensor activation = (model.*block.activation)(layer, x);
      if (model.has(block.post_norm, layer))
        products.push_back(activation.matmul(model.weight(block.matrix, layer).t()));
      x = x + (model.*block.output)(layer, activation);
    }
    return products;
  }
  // Rounds attn_output or ffn_down and takes the rounded stream through the block. The matrix aims
  // at the exact stream, or at `products`.
  void finish_block(int layer, const Block& block, const std::vector<Tensor>& products) {
    RidgeSums outputs;  // cross: the output that the matrix should give
    std::vector<Tensor> activations(approximate.size());
    for (std::size_t b = 0; b < approximate.size(); ++b) {
      activations[b] = (model.*block.activation)(layer, approximate[b]);
      const Tensor& size = products.empty() ? exact[b] : products[b];
      const Tensor weight = model::inverse_rms(size);
      Tensor aim = products.empty() ? exact[b] - approximate[b] : products[b];
      if (products.empty() && model.has(block.bias, layer))
        aim = aim - model.weight(block.bias, layer);
      outputs.add(activations[b] * weight, aim * weight);
    }
    bytes[block.matrix] =
        round(block.matrix, layer, outputs.solve(model.weight(block.matrix, layer), kRidge),
              statistics_of(outputs));
    for (std::size_t b = 0; b < approximate.size(); ++b)
      approximate[b] = approximate[b] + (model.*block.output)(layer, activations[b]);
  }
  void round_block(int layer, const Block& block, Role norm, const std::vector<Role>& readers) {
    RidgeSums inputs;
    for (std::size_t b = 0; b < exact.size(); ++b)
      inputs.add(model.norm(norm, layer, approximate[b]), model.norm(norm, layer, exact[b]));
    const std::vector<Tensor> products = exact_block(layer, block);
    round_readers(layer, readers, inputs);
    finish_block(layer, block, products);
  }

  void advance() {
    const int l = next;
    const auto& size = model.dims().layers[static_cast<std::size_t>(l)];
    bytes.clear();
    model.load_layer(l);
    if (size.kv_groups * size.q_per_kv > 0)
      round_block(l, kAttention, Role::attn_norm, arch::attention_inputs(model.arch()));
    if (size.ffn > 0) round_block(l, kFfn, Role::ffn_norm, arch::ffn_inputs(model.arch()));
    model.unload_layer(l);
    ++next;
  }
};

SequentialRounding::SequentialRounding(const checkpoint::Checkpoint& source,
                                       const plan::QuantPlan& plan, const quant::Imatrix& imatrix,
                                       const data::Corpus& corpus, const CalibrateOptions& options,
                                       int threads)
    : state_(new State{plan,
                       imatrix,
                       model::Transformer::open(source),
                       core::ThreadPool(threads),
                       {},
                       {},
                       {},
                       0,
                       {}}) {
  const torch::InferenceMode inference;
  State& s = *state_;
  const std::vector<Tensor> batches =
      split_batches(draw_windows(corpus, options, source.dims().vocab));
  for (const Tensor& batch : batches) s.exact.push_back(s.model.embed(batch));
  if (const auto* statistics = imatrix.find(Role::token_embd, -1); statistics != nullptr)
    s.bytes[Role::token_embd] =
        s.round(Role::token_embd, -1, s.model.rows(Role::token_embd, -1, 0, source.dims().vocab),
                *statistics);
  for (const Tensor& batch : batches) s.approximate.push_back(s.model.embed(batch));
}
SequentialRounding::~SequentialRounding() = default;

std::optional<std::vector<std::byte>> SequentialRounding::rounded(Role role, int layer) {
  const torch::InferenceMode inference;
  State& s = *state_;
  if (layer < 0 && role != Role::token_embd) {
    const auto* statistics = s.imatrix.find(role, -1);
    if (statistics == nullptr) return std::nullopt;
    return s.round(role, -1, s.model.rows(role, -1, 0, s.model.dims().vocab), *statistics);
  }
  while (layer >= s.next) s.advance();
  const auto it = s.bytes.find(role);
  if (it == s.bytes.end() && layer < 0) return std::nullopt;
  ESP_CHECK(it != s.bytes.end() && (layer < 0 || layer == s.next - 1), internal,
            "sequential rounding: ", arch::role_name(role), " of layer ", layer,
            " was requested out of order");
  return std::move(it->second);
}

}  // namespace espalier::calibrate
