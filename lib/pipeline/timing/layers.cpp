// SPDX-License-Identifier: Apache-2.0
// Random text through one layer.
#include "timing/layers.h"

#include <torch/types.h>

#include <algorithm>
#include <sstream>

#include "model/allocation.h"
#include "model/transformer.h"
#include "timing/sample.h"
#include "verify/divergence.h"

namespace espalier::timing {
namespace {

using torch::Tensor;

constexpr std::int64_t kRows = 512;            // of logits at a time
constexpr std::int64_t kOutputSample = 32768;  // of the output matrix in a sample; more go as fast

struct Layer {
  int index;
  double operations;
};

double operations_of(const Model& model, int layer, std::int64_t sequence) {
  double out = 0;
  for (const arch::TensorRef& t : arch::tensors(*model.arch, model.dims))
    if (t.layer == layer && !t.is_vector)
      out += 2.0 * static_cast<double>(t.elements()) * static_cast<double>(t.used) /
             static_cast<double>(t.stack);
  const arch::LayerDims& l = model.dims.layers[static_cast<std::size_t>(layer)];
  const std::int64_t seen = l.local ? std::min(model.dims.window, sequence) : sequence;
  return out + 4.0 * static_cast<double>(l.heads() * model.dims.head_dim * seen);
}

Layer largest_layer(const Model& model, std::int64_t sequence) {
  Layer out{0, 0};
  for (int l = 0; l < model.dims.n_layers(); ++l) {
    const arch::LayerDims& dims = model.dims.layers[static_cast<std::size_t>(l)];
    if (l > 0 && dims == model.dims.layers[static_cast<std::size_t>(out.index)]) continue;
    const double operations = operations_of(model, l, sequence);
    if (operations > out.operations) out = {l, operations};
  }
  return out;
}

// A model of that layer alone, without a vocabulary.
Model one_layer(const Model& model, const Layer& layer) {
  Model out = model;
  out.dims.vocab = 1;
  out.dims.tied = true;
  out.dims.layers = {model.dims.layers[static_cast<std::size_t>(layer.index)]};
  return out;
}

bool computed(const Model& one) {
  for (const arch::Block& block : one.arch->blocks)
    if (block.in(one.dims.layers[0]) && !arch::is_computed(block.kind)) return false;
  return true;
}

std::string key_of(const char* kind, const Model& one, const Text& text) {
  std::ostringstream out;
  out << kind << " " << one.arch->name << " hidden " << one.dims.hidden << " head "
      << one.dims.head_dim;
  for (const arch::Axis axis : {arch::Axis::kv_groups, arch::Axis::q_per_kv, arch::Axis::ffn})
    out << " " << arch::axis_name(axis) << " " << one.dims.layers[0][axis];
  out << ", windows of " << text.sequence << ", " << text.batch_tokens << " tokens at a time"
      << (text.bf16 ? ", in bfloat16" : "");
  return out.str();
}

model::Transformer layer_of(const Model& one, bool trainable, bool bf16) {
  model::Transformer out(
      *one.arch, one.dims,
      {.trainable = trainable, .matmul_dtype = bf16 ? torch::kBFloat16 : torch::kFloat32});
  const torch::NoGradGuard no_grad;
  for (Tensor t : out.parameters()) t.fill_(t.dim() == 1 ? 1.0 : 0.01);
  return out;
}

// [windows, T, H], of n tokens at most.
Tensor states(const Model& one, const Text& text, std::int64_t n) {
  const std::int64_t T = std::min(text.sequence, n);
  return torch::randn({std::max<std::int64_t>(1, n / T), T, one.dims.hidden});
}

double tokens_of(const Text& text, std::int64_t n) {
  const std::int64_t T = std::min(text.sequence, n);
  return static_cast<double>(std::max<std::int64_t>(1, n / T) * T);
}

std::int64_t batch_of(const Text& text) {
  return std::max(text.sequence, text.batch_tokens / text.sequence * text.sequence);
}

double time_forward(const Model& one, const Text& text, double seconds) {
  const torch::InferenceMode inference;
  const model::AllocationReuse reuse;
  const model::Transformer layer = layer_of(one, false, text.bf16);
  return speed(
      seconds, kFewTokens, batch_of(text),
      [&](std::int64_t n) {
        return [&, x = states(one, text, n)] { static_cast<void>(layer.layer(0, x)); };
      },
      [&](std::int64_t n) { return tokens_of(text, n); });
}

double time_train(const Model& one, const Text& text, double seconds) {
  const model::Transformer layer = layer_of(one, true, text.bf16);
  return speed(
      seconds, kFewTokens, batch_of(text),
      [&](std::int64_t n) {
        return [&, x = states(one, text, n).requires_grad_(true)] {
          const Tensor out = layer.layer(0, x);
          out.backward(torch::ones_like(out));
        };
      },
      [&](std::int64_t n) { return tokens_of(text, n); });
}

}  // namespace

double operations_per_token(const Model& model, std::int64_t sequence) {
  double out = 0;
  for (const arch::TensorRef& t : arch::tensors(*model.arch, model.dims))
    if (t.layer >= 0 && !t.is_vector)
      out += 2.0 * static_cast<double>(t.elements()) * static_cast<double>(t.used) /
             static_cast<double>(t.stack);
  for (const arch::LayerDims& l : model.dims.layers)
    out += 4.0 * static_cast<double>(l.heads() * model.dims.head_dim *
                                     (l.local ? std::min(model.dims.window, sequence) : sequence));
  return out;
}

Item forward(const Model& model, const Text& text) {
  const Layer largest = largest_layer(model, text.sequence);
  const Model one = one_layer(model, largest);
  Item out{"forward",
           key_of("forward", one, text),
           static_cast<double>(text.tokens) * operations_per_token(model, text.sequence),
           80e9,
           {}};
  if (computed(one))
    out.measure = [one, text, operations = largest.operations](double seconds) {
      return operations * time_forward(one, text, seconds);
    };
  return out;
}

Item train(const Model& model, const Text& text) {
  const Layer largest = largest_layer(model, text.sequence);
  const Model one = one_layer(model, largest);
  Item out{"train",
           key_of("train", one, text),
           static_cast<double>(text.tokens) * operations_per_token(model, text.sequence),
           25e9,
           {}};
  if (computed(one))
    out.measure = [one, text, operations = largest.operations](double seconds) {
      return operations * time_train(one, text, seconds);
    };
  return out;
}

Item output(const arch::ModelDims& dims, std::int64_t tokens) {
  const std::int64_t V = std::min(dims.vocab, kOutputSample), H = dims.hidden;
  const auto one = 2.0 * static_cast<double>(H);  // operations of a logit
  return {"output", "output " + std::to_string(V) + " x " + std::to_string(H),
          one * static_cast<double>(dims.vocab) * static_cast<double>(tokens), 80e9,
          [V, H, one](double seconds) {
            const torch::InferenceMode inference;
            const Tensor weights = torch::full({V, H}, 0.01f);
            return one * static_cast<double>(V) *
                   speed(seconds, kFewTokens, kRows, [&](std::int64_t n) {
                     return [&, x = torch::randn({n, H}), out = torch::empty({n, V})]() mutable {
                       at::mm_out(out, x, weights.t());
                     };
                   });
          }};
}

Item loss(std::int64_t vocab, std::int64_t tokens) {
  return {"loss", "loss over " + std::to_string(vocab),
          static_cast<double>(vocab) * static_cast<double>(tokens), 250e6, [vocab](double seconds) {
            const torch::InferenceMode inference;
            return static_cast<double>(vocab) *
                   speed(seconds, kFewTokens, kRows, [&](std::int64_t n) {
                     return [x = torch::randn({n, vocab}), t = torch::randn({n, vocab})] {
                       static_cast<void>(torch::log_softmax(x, -1));
                       static_cast<void>(torch::log_softmax(t, -1));
                     };
                   });
          }};
}

Item compare(std::int64_t vocab, std::int64_t tokens) {
  return {"compare", "compare over " + std::to_string(vocab),
          static_cast<double>(vocab) * static_cast<double>(tokens), 100e6, [vocab](double seconds) {
            const torch::InferenceMode inference;
            const std::int64_t rows = verify::rows_at_once(vocab);
            return static_cast<double>(vocab) *
                   speed(seconds, std::min(kFewTokens, rows), rows, [&](std::int64_t n) {
                     return [x = torch::randn({n, vocab}), t = torch::randn({n, vocab}),
                             targets = torch::zeros({n}, torch::kInt64)] {
                       const verify::Reference reference = verify::make_reference(t);
                       static_cast<void>(verify::measure(x, targets, &reference));
                     };
                   });
          }};
}

Item optimizer(std::int64_t parameters) {
  // Reads values, gradients and two moments, writes all of them, and reads gradients for the norm.
  return {"optimizer", "optimizer", static_cast<double>(parameters), 250e6, [](double seconds) {
            const torch::InferenceMode inference;
            constexpr std::int64_t kMany = std::int64_t{1} << 22;
            return speed(seconds, kMany, 4 * kMany, [](std::int64_t n) {
              return [v = torch::ones({n}), g = torch::ones({n}), a = torch::ones({n}),
                      b = torch::ones({n})]() mutable {
                static_cast<void>(g.norm());
                a.mul_(0.9).add_(g, 0.1);
                b.mul_(0.99).addcmul_(g, g, 0.01);
                v.addcdiv_(a, b, -1e-9);
                g.zero_();
              };
            });
          }};
}

}  // namespace espalier::timing
