// SPDX-License-Identifier: Apache-2.0
// The forward pass with autograd. The steps have the names and the order of runtime/forward.cpp, so
// that the two can be read side by side. Positions always start at 0. Attention is causal over the
// whole window, or over the paths of trees (forest.h). There is no cache and no padding.
#include <c10/core/InferenceMode.h>

#include <algorithm>

#include "core/error.h"
#include "core/profile.h"
#include "model/block.h"
#include "model/finite.h"
#include "model/forest.h"
#include "model/host_rows.h"
#include "model/ops/operations.h"
#include "model/transformer.h"

namespace espalier::model {

using arch::Role;
using torch::Tensor;

void Transformer::tap(Tap point, int layer, const Tensor& value) const {
  if (tap_) tap_(point, layer, value);
}

std::pair<Tensor, Tensor> Transformer::rope_tables(int layer, std::int64_t positions) const {
  const bool long_text = dims_.long_rope.used() && positions > dims_.long_rope.original_positions;
  Rotation& r = long_text                                                ? long_text_rotation_
                : dims_.layers.at(static_cast<std::size_t>(layer)).local ? local_rotation_
                                                                         : global_rotation_;
  if (!r.cosine.defined() || r.cosine.size(0) < positions) {
    torch::NoGradGuard no_grad;
    const Tensor angles =
        torch::outer(torch::arange(positions, torch::kFloat64), r.inverse_frequencies);
    const double factor = dims_.long_rope.attention_factor;
    r.cosine = (angles.cos() * factor).to(torch::kFloat32).to(options_.device).contiguous();
    r.sine = (angles.sin() * factor).to(torch::kFloat32).to(options_.device).contiguous();
  }
  return {r.cosine.narrow(0, 0, positions), r.sine.narrow(0, 0, positions)};
}

Tensor Transformer::norm(Role role, int layer, const Tensor& x) const {
  const Operations& ops = operations(x.device());
  const Tensor& stored = weight(role, layer);
  const auto bias = [&] { return weight(arch::bias_of(role).value(), layer); };
  switch (arch_->norm) {
    case arch::Norm::rms:
      return ops.rms_norm(x, stored, dims_.norm_eps);
    case arch::Norm::rms_plus_one:
      return ops.rms_norm(x, stored + 1.0, dims_.norm_eps);
    case arch::Norm::layer:
      return ops.layer_norm(x, stored, bias(), dims_.norm_eps);
    case arch::Norm::layer_plus_one:
      return ops.layer_norm(x, stored + 1.0, bias(), dims_.norm_eps);
  }
  return x;
}

std::vector<Tensor> Transformer::products(const Tensor& x, const std::vector<Tensor>& matrices,
                                          torch::ScalarType dtype) const {
  for (const Tensor& matrix : matrices)
    core::count_operations(2.0 * static_cast<double>(x.numel()) *
                           static_cast<double>(matrix.size(0)));
  return operations(x.device()).linears(x, matrices, dtype);
}

std::vector<Tensor> Transformer::linears(std::span<const Role> roles, int layer,
                                         const Tensor& x) const {
  std::vector<Tensor> matrices;
  for (const Role role : roles) matrices.push_back(weight(role, layer));
  std::vector<Tensor> out = products(x, matrices, options_.matmul_dtype);
  for (std::size_t i = 0; i < roles.size(); ++i)
    if (const auto bias = arch::bias_of(roles[i]); bias && has(*bias, layer))
      out[i] = out[i] + weight(*bias, layer);
  return out;
}

Tensor Transformer::embeddings(const Tensor& ids_BT) const {
  if (has(Role::token_embd, -1))
    return operations(options_.device)
        .embed_rows(ids_BT.to(options_.device, torch::kInt64), weight(Role::token_embd, -1));
  const Tensor ids = ids_BT.to(torch::kCPU, torch::kInt64).flatten();
  const Tensor out = torch::empty({ids.numel(), dims_.hidden}, torch::kFloat32);
  const auto id = ids.accessor<std::int64_t, 1>();
  HostRows rows(*source_);
  for (std::int64_t i = 0; i < ids.numel(); ++i)
    rows.read(Role::token_embd, -1, id[i], out.narrow(0, i, 1));
  return out.view({ids_BT.size(0), ids_BT.size(1), dims_.hidden}).to(options_.device);
}

Tensor Transformer::embed(const Tensor& ids_BT) const {
  ESP_CHECK(ids_BT.dim() == 2, internal, "token ids must be a [batch, tokens] matrix");
  Tensor rows = embeddings(ids_BT);
  if (arch::learned_positions(*arch_)) {
    const Forest* forest = ReadForest::current();
    const std::int64_t longest = forest == nullptr ? ids_BT.size(1) : forest->longest();
    ESP_CHECK(longest <= dims_.positions, usage, "a text of ", longest,
              " tokens is too long: the model has ", dims_.positions, " learned positions");
    const Tensor& table = weight(Role::pos_embd, -1);
    rows = rows + (forest == nullptr ? table.narrow(0, 0, longest) : forest->rows(table));
  }
  const double factor = arch::embedding_factor(*arch_, dims_);
  return factor == 1 ? rows : rows * factor;
}

// The paths of a forest: a trunk attends to itself, and a branch to its trunk and itself.
template <typename Attend>
static Tensor attend_trees(const Forest& forest, const Tensor& q_BTND, const Tensor& k_BTKD,
                           const Tensor& v_BTKD, Attend&& attend) {
  std::vector<Tensor> out;
  std::int64_t first = 0;
  for (const Forest::Tree& tree : forest.trees) {
    const Tensor k = k_BTKD.narrow(1, first, tree.trunk), v = v_BTKD.narrow(1, first, tree.trunk);
    if (tree.trunk > 0) out.push_back(attend(q_BTND.narrow(1, first, tree.trunk), k, v));
    first += tree.trunk;
    for (const std::int64_t n : tree.branches) {
      if (n == 0) continue;
      out.push_back(attend(q_BTND.narrow(1, first, n),
                           torch::cat({k, k_BTKD.narrow(1, first, n)}, 1),
                           torch::cat({v, v_BTKD.narrow(1, first, n)}, 1)));
      first += n;
    }
  }
  return torch::cat(out, 1);
}

// softmax(scale q k^T, with the layer's soft-cap and window) v.
Tensor Transformer::attend(int index, const Tensor& q_BTND, const Tensor& k_BTKD,
                           const Tensor& v_BTKD) const {
  const bool local = dims_.layers.at(static_cast<std::size_t>(index)).local;
  const AttentionRule rule{.scale = arch::attention_scale(dims_),
                           .softcap = dims_.attention_softcap,
                           .window = local ? dims_.window : 0};
  const auto text = [&](const Tensor& q, const Tensor& k, const Tensor& v) {
    // The causal half of two products.
    core::count_operations(2.0 * static_cast<double>(q.numel()) * static_cast<double>(k.size(1)));
    return operations(q.device()).attention(q, k, v, rule);
  };
  const Forest* forest = ReadForest::current();
  return forest == nullptr ? text(q_BTND, k_BTKD, v_BTKD)
                           : attend_trees(*forest, q_BTND, k_BTKD, v_BTKD, text);
}

Tensor Transformer::attention_mix(const arch::Block& block, int index, const Tensor& h) const {
  const arch::LayerDims& size = dims_.layers.at(static_cast<std::size_t>(index));
  const std::int64_t B = h.size(0), T = h.size(1), D = dims_.head_dim,
                     K = size[arch::Axis::kv_groups], N = K * size[arch::Axis::q_per_kv];
  const std::vector<Tensor> read = linears(block.readers, index, h);
  Tensor q_BTND, k_BTKD, v_BTKD;
  if (read.size() == 1) {
    q_BTND = read[0].narrow(-1, 0, N * D).unflatten(-1, {N, D});
    k_BTKD = read[0].narrow(-1, N * D, K * D).unflatten(-1, {K, D});
    v_BTKD = read[0].narrow(-1, (N + K) * D, K * D).unflatten(-1, {K, D});
  } else {
    q_BTND = read[0].view({B, T, N, D});
    k_BTKD = read[1].view({B, T, K, D});
    v_BTKD = read[2].view({B, T, K, D});
  }
  if (has(Role::attn_q_norm, index)) {
    q_BTND = norm(Role::attn_q_norm, index, q_BTND);
    k_BTKD = norm(Role::attn_k_norm, index, k_BTKD);
  }
  if (size.rope) {
    const Forest* forest = ReadForest::current();
    auto [cosine, sine] = rope_tables(index, forest == nullptr ? T : forest->longest());
    if (forest != nullptr) {
      cosine = forest->rows(cosine);
      sine = forest->rows(sine);
    }
    const Operations& ops = operations(h.device());
    q_BTND = ops.rotate(q_BTND, cosine, sine);
    k_BTKD = ops.rotate(k_BTKD, cosine, sine);
  }
  return attend(index, q_BTND, k_BTKD, v_BTKD).reshape({B, T, N * D});
}

Tensor Transformer::ffn_activation(const arch::Block& block, int index, const Tensor& h) const {
  const std::vector<Tensor> read = linears(block.readers, index, h);
  Tensor gate, up = read.back();  // without a gate: only up
  if (arch::has_gate(arch_->activation)) {
    const std::int64_t F = dims_.layers.at(static_cast<std::size_t>(index))[arch::Axis::ffn];
    gate = read.size() == 1 ? read[0].narrow(-1, 0, F) : read[0];
    if (read.size() == 1) up = read[0].narrow(-1, F, F);
  }
  const Operations& ops = operations(h.device());
  switch (arch_->activation) {
    case arch::Activation::swiglu:
      return ops.swiglu(gate, up);
    case arch::Activation::geglu:
      return ops.geglu(gate, up);
    case arch::Activation::relu_squared:
      return ops.relu_squared(up);
    case arch::Activation::gelu:
      return ops.gelu(up);
  }
  return up;
}

Tensor Transformer::activation(const arch::Block& block, int index, const Tensor& x_BTH) const {
  const Tensor h = norm(block.norm, index, x_BTH);
  tap(taps(block.kind).input, index, h);
  Tensor out;
  switch (block.kind) {
    case arch::BlockKind::attention:
      out = attention_mix(block, index, h);
      break;
    case arch::BlockKind::ffn:
      out = ffn_activation(block, index, h);
      break;
    default:
      arch::not_computed(block.kind);
  }
  tap(taps(block.kind).inner, index, out);
  return out;
}

// Weights are finite (Checkpoint checks them), so a value that is not was computed. Training checks
// its loss itself and names the step.
Tensor Transformer::output(const arch::Block& block, int index, const Tensor& activation) const {
  Tensor out = linears({&block.consumer, 1}, index, activation)[0];
  if (block.norm_behind) out = norm(*block.norm_behind, index, out);
  if (dims_.residual_factor != 1) out = out * dims_.residual_factor;
  ESP_CHECK(!c10::InferenceMode::is_enabled() || out.is_meta() || all_finite(out), input, "layer ",
            index, ": what ", block.kind == arch::BlockKind::attention ? "" : "the ",
            arch::block_name(block.kind),
            " computes is not finite, although the weights are: activations of this text exceed "
            "the range of float32, so that there is no result");
  return out;
}

Tensor Transformer::layer(int index, const Tensor& x_BTH) const {
  Tensor x = x_BTH;
  tap(Tap::layer_in, index, x);
  for (const arch::Block& block : arch_->blocks) {
    if (!block.in(dims_.layers.at(static_cast<std::size_t>(index)))) continue;
    const Tensor out = output(block, index, activation(block, index, x));
    tap(taps(block.kind).out, index, out);
    x = x + out;
  }
  tap(Tap::layer_out, index, x);
  return x;
}

// Dividing here rather than the logits is less work, and every loss and cache of logits begins
// here.
Tensor Transformer::final_norm(const Tensor& x) const {
  const Tensor normed = norm(Role::output_norm, -1, x);
  return dims_.logit_divisor == 1 ? normed : normed / dims_.logit_divisor;
}

Tensor Transformer::hidden(const Tensor& ids_BT) const {
  Tensor x = embed(ids_BT);
  for (int l = 0; l < static_cast<int>(dims_.layers.size()); ++l) x = layer(l, x);
  x = final_norm(x);
  tap(Tap::output_norm, -1, x);
  return x;
}

Role Transformer::output_role() const { return dims_.tied ? Role::token_embd : Role::output; }
Tensor Transformer::output_weight() const { return weight(output_role(), -1); }

Tensor Transformer::logits(const Tensor& hidden_BTH) const {
  Tensor out;
  if (has(output_role(), -1)) {
    out = products(hidden_BTH, {output_weight()}, torch::kFloat32)[0];
  } else {
    constexpr std::int64_t kBlockValues = std::int64_t{1} << 24;  // of the matrix: 64 MiB
    const std::int64_t block = std::max<std::int64_t>(1, kBlockValues / dims_.hidden);
    std::vector<std::int64_t> sizes = hidden_BTH.sizes().vec();
    sizes.back() = dims_.vocab;
    out = torch::empty(sizes, values());
    for (std::int64_t first = 0; first < dims_.vocab; first += block) {
      const std::int64_t n = std::min(block, dims_.vocab - first);
      out.narrow(-1, first, n)
          .copy_(products(hidden_BTH, {rows(output_role(), -1, first, n)}, torch::kFloat32)[0]);
    }
  }
  return dims_.logit_softcap > 0 ? torch::tanh(out / dims_.logit_softcap) * dims_.logit_softcap
                                 : out;
}

}  // namespace espalier::model
