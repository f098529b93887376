// The forward pass with autograd. Step names and their order are those of runtime/forward.cpp, so that the two can be read side by side.
// Positions always start at 0 and attention is causal over the whole window; no cache, no padding.
#include <torch/csrc/autograd/custom_function.h>

#include "core/error.h"
#include "model/attention.h"
#include "model/functions.h"
#include "model/transformer.h"

namespace espalier::model {

using arch::Role;
using torch::Tensor;

namespace {

// LibTorch's own kernel where products are computed in bfloat16, which ours does not do.
Tensor attend(const Tensor& q_BTND, const Tensor& k_BTKD, const Tensor& v_BTKD, torch::ScalarType dtype) {
  if (dtype == torch::kFloat32) return causal_attention(q_BTND, k_BTKD, v_BTKD);
  const Tensor mix_BNTD = at::scaled_dot_product_attention(q_BTND.to(dtype).transpose(1, 2), k_BTKD.to(dtype).transpose(1, 2),
                                                           v_BTKD.to(dtype).transpose(1, 2), {}, 0.0, /*is_causal=*/true, std::nullopt,
                                                           /*enable_gqa=*/q_BTND.size(2) != k_BTKD.size(2));
  return mix_BNTD.transpose(1, 2).to(torch::kFloat32);
}

// Runs one layer without a graph and once more, with one, when its gradient is asked for.
struct Recomputed : torch::autograd::Function<Recomputed> {
  static Tensor forward(torch::autograd::AutogradContext* ctx, const Tensor& x, const Transformer* model, std::int64_t index) {
    ctx->save_for_backward({x});
    ctx->saved_data["model"] = reinterpret_cast<std::int64_t>(model);
    ctx->saved_data["index"] = index;
    torch::NoGradGuard no_grad;
    return model->layer(static_cast<int>(index), x);
  }
  static torch::autograd::tensor_list backward(torch::autograd::AutogradContext* ctx, const torch::autograd::tensor_list& gradients) {
    const auto* model = reinterpret_cast<const Transformer*>(ctx->saved_data["model"].toInt());
    const Tensor x = ctx->get_saved_variables()[0].detach().requires_grad_(true);
    torch::AutoGradMode with_grad(true);
    model->layer(static_cast<int>(ctx->saved_data["index"].toInt()), x).backward(gradients[0]);
    return {x.grad(), Tensor(), Tensor()};
  }
};

}  // namespace

void Transformer::tap(const char* point, int layer, const Tensor& value) const {
  if (tap_) tap_(point, layer, value);
}

std::pair<Tensor, Tensor> Transformer::rope_tables(std::int64_t positions) const {
  if (!rope_cos_.defined() || rope_cos_.size(0) < positions) {
    torch::NoGradGuard no_grad;
    const Tensor angles = torch::outer(torch::arange(positions, torch::kFloat64), inverse_frequencies_);
    rope_cos_ = angles.cos().to(torch::kFloat32).contiguous();
    rope_sin_ = angles.sin().to(torch::kFloat32).contiguous();
  }
  return {rope_cos_.narrow(0, 0, positions), rope_sin_.narrow(0, 0, positions)};
}

Tensor Transformer::embed(const Tensor& ids_BT) const {
  ESP_CHECK(ids_BT.dim() == 2, internal, "token ids are a [batch, tokens] matrix");
  return embed_rows(ids_BT.to(torch::kInt64), weight(Role::token_embd, -1));
}

Tensor Transformer::attention_mix(int index, const Tensor& x_BTH) const {
  const arch::LayerDims& size = dims_.layers.at(static_cast<std::size_t>(index));
  const std::int64_t B = x_BTH.size(0), T = x_BTH.size(1), D = dims_.head_dim, K = size.kv_groups, N = K * size.q_per_kv;
  const Tensor h = rms_norm(x_BTH, weight(Role::attn_norm, index), dims_.norm_eps);
  tap("attn_in", index, h);
  const auto mul = [&](Role role) { return linear(h, weight(role, index), options_.matmul_dtype); };
  const auto [cosine, sine] = rope_tables(T);
  const Tensor q_BTND = rotate(mul(Role::attn_q).view({B, T, N, D}), cosine, sine);
  const Tensor k_BTKD = rotate(mul(Role::attn_k).view({B, T, K, D}), cosine, sine);
  const Tensor v_BTKD = mul(Role::attn_v).view({B, T, K, D});
  const Tensor mix = attend(q_BTND, k_BTKD, v_BTKD, options_.matmul_dtype).reshape({B, T, N * D});
  tap("attn_mix", index, mix);
  return mix;
}

Tensor Transformer::ffn_activation(int index, const Tensor& x_BTH) const {
  const Tensor h = rms_norm(x_BTH, weight(Role::ffn_norm, index), dims_.norm_eps);
  tap("ffn_in", index, h);
  const auto mul = [&](Role role) { return linear(h, weight(role, index), options_.matmul_dtype); };
  const Tensor act = swiglu(mul(Role::ffn_gate), mul(Role::ffn_up));
  tap("ffn_act", index, act);
  return act;
}

Tensor Transformer::layer(int index, const Tensor& x_BTH) const {
  const arch::LayerDims& size = dims_.layers.at(static_cast<std::size_t>(index));
  Tensor x = x_BTH;
  tap("layer_in", index, x);
  if (size.kv_groups * size.q_per_kv > 0) {
    const Tensor out = linear(attention_mix(index, x), weight(Role::attn_output, index), options_.matmul_dtype);
    tap("attn_out", index, out);
    x = x + out;
  }
  if (size.ffn > 0) {
    const Tensor out = linear(ffn_activation(index, x), weight(Role::ffn_down, index), options_.matmul_dtype);
    tap("ffn_out", index, out);
    x = x + out;
  }
  tap("layer_out", index, x);
  return x;
}

Tensor Transformer::hidden(const Tensor& ids_BT) const {
  Tensor x = embed(ids_BT);
  const bool recompute = options_.checkpoint_layers && options_.trainable && torch::GradMode::is_enabled();
  // A recomputed layer hands gradients on only to an input that asks for them.
  if (recompute && !x.requires_grad()) x = x.detach().requires_grad_(true);
  for (int l = 0; l < static_cast<int>(dims_.layers.size()); ++l)
    x = recompute ? Recomputed::apply(x, this, static_cast<std::int64_t>(l)) : layer(l, x);
  x = rms_norm(x, weight(Role::output_norm, -1), dims_.norm_eps);
  tap("output_norm", -1, x);
  return x;
}

Tensor Transformer::output_weight() const { return weight(dims_.tied ? Role::token_embd : Role::output, -1); }

Tensor Transformer::logits(const Tensor& hidden_BTH) const { return linear(hidden_BTH, output_weight(), options_.matmul_dtype); }

}  // namespace espalier::model
