// SPDX-License-Identifier: Apache-2.0
// Relative RMS error: rms(a - b) / std(a) over all logits of all positions. The tolerances are:
//
//   A  float32 sums in different order: eps * sqrt(products per logit path), with room for
//      softmax and norms: 1e-4
//   B  block formats multiply int8 activations: every product adds a relative error with the
//      standard deviation of a rounding step, 1 / (127 * sqrt(12)) of the block's largest value
//      - outlier channels of trained models make that value up to about 6 times the block's RMS
//      - 7 products a layer plus the output add up as independent errors
//      - bfloat16 activations (where an ISA multiplies BF16 weights with them) add their error
//      other float formats round once per product
#include "verify/parity.h"

#include <algorithm>
#include <cmath>

#include "checkpoint/checkpoint.h"
#include "core/error.h"
#include "kernels/kernel_table.h"
#include "kernels/linear.h"
#include "runtime/perplexity.h"
#include "verify/walked_model.h"

namespace espalier::verify {
namespace {

torch::Tensor runtime_logits(const std::string& gguf, const std::vector<std::int32_t>& ids,
                             const std::string& isa, int threads, bool whole, std::string& used) {
  runtime::Session session(gguf, {.threads = threads,
                                  .context = static_cast<std::int64_t>(ids.size()),
                                  .isa = isa,
                                  .kv = runtime::SessionOptions::KvType::f32,
                                  .packed_file = false,
                                  .layer_by_layer = !whole});
  used = session.isa();
  const std::int64_t vocab = session.dims().vocab;
  torch::Tensor out = torch::empty({static_cast<std::int64_t>(ids.size()), vocab});
  session.prefill_scored(ids, 0, [&](std::int64_t row, std::span<const float> logits) {
    std::copy(logits.begin(), logits.end(), out.data_ptr<float>() + row * vocab);
  });
  return out;
}

double relative_error(const torch::Tensor& expected, const torch::Tensor& actual) {
  return ((expected - actual).to(torch::kFloat64).square().mean().sqrt() /
          expected.to(torch::kFloat64).std())
      .item<double>();
}

// The error of a product's activations relative to their root mean square, when the kernels take
// them in this form.
double activation_error(kernels::ActivationForm form) {
  switch (form) {
    case kernels::ActivationForm::f32:
      return 0;
    case kernels::ActivationForm::bf16:
      return 0x1p-7 / std::sqrt(12.0);
    case kernels::ActivationForm::q8_per_32:
    case kernels::ActivationForm::q8_per_256:
      return 6.0 / (127.0 * std::sqrt(12.0));
  }
  return 0;
}

}  // namespace

Parity parity(const std::string& gguf, const text::Documents& documents, std::int64_t tokens,
              int threads, const MemoryBudget& memory, const text::Reading& reading) {
  torch::InferenceMode inference;
  Parity p;
  const auto source = checkpoint::Checkpoint::open(gguf);
  const text::Tokenizer tokenizer(source.tokenizer());
  std::vector<std::int32_t> ids = runtime::perplexity_stream(tokenizer, documents, reading).tokens;
  if (static_cast<std::int64_t>(ids.size()) > tokens) ids.resize(static_cast<std::size_t>(tokens));
  ESP_CHECK(ids.size() >= 2, input, "the text gives fewer than 2 tokens");
  p.tokens = static_cast<std::int64_t>(ids.size());
  const bool whole = memory.device_whole;
  const torch::Tensor plain =
                          runtime_logits(gguf, ids, "reference", threads, whole, p.reference_isa),
                      fast = runtime_logits(gguf, ids, "", threads, whole, p.isa);
  double step = 0;
  for (const arch::TensorRef& t : arch::tensors(source.arch(), source.dims())) {
    const auto format = static_cast<std::size_t>(source.stored_format(t.spec->role, t.layer));
    step = std::max(step, activation_error(kernels::select_isa(p.isa).linear[format].form));
  }
  {
    WalkedModel model(gguf, keeps_output(source.dims(), memory));
    model.read(torch::tensor(std::vector<std::int64_t>(ids.begin(), ids.end())).unsqueeze(0), {});
    p.leg_a = relative_error(model.logits(0, 0, p.tokens), plain);
  }
  p.leg_b = relative_error(plain, fast);
  p.leg_a_tolerance = 1e-4;
  const double products = 7.0 * static_cast<double>(source.dims().n_layers()) + 1;
  // f16 weights and caches round once per product.
  p.leg_b_tolerance = std::max(2e-3, step * std::sqrt(products));
  return p;
}

}  // namespace espalier::verify
