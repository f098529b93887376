// SPDX-License-Identifier: Apache-2.0
// The loss by rows of the output matrix, and the way back through the layers.
#include "layerwise/backward.h"

#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "core/error.h"
#include "model/allocation.h"

namespace espalier::layerwise {
namespace {

using arch::Role;
using torch::Tensor;

// The stream before each layer.
class Keeper : public Visitor {
 public:
  void begin(model::Transformer&, const Tensor&, const Stream& stream) override {
    stream_ = &stream;
  }
  void layer_begin(model::Transformer&, int) override {
    const torch::InferenceMode off(false);  // a graph refuses tensors of inference
    kept.push_back(stream_->states.clone());
  }
  std::vector<Tensor> kept;

 private:
  const Stream* stream_ = nullptr;
};

// Returns the loss, and replaces the stream after the last layer by its gradient. The output matrix
// is read twice, in blocks of rows.
double output_gradient(const model::Transformer& model, const Tensor& ids, const Stream& stream) {
  constexpr std::int64_t kRows = 4096;
  const arch::ModelDims& dims = model.dims();
  const std::int64_t T = ids.size(1) - 1, N = ids.size(0) * T;
  const Tensor targets = ids.narrow(1, 1, T).reshape(-1).to(torch::kInt64),
               log_sum = torch::full({N}, -std::numeric_limits<float>::infinity()),
               picked = torch::empty({N});
  const auto each = [&](const auto& use) {
    for (std::int64_t row = 0; row < dims.vocab; row += kRows) {
      const Tensor rows = model.rows(dims.tied ? Role::token_embd : Role::output, -1, row,
                                     std::min(kRows, dims.vocab - row));
      for (std::int64_t b = 0; b < stream.batches(); ++b) {
        Tensor logits = model.final_norm(stream.at(b).narrow(1, 0, T))
                            .reshape({-1, dims.hidden})
                            .matmul(rows.t());
        if (dims.logit_softcap > 0)
          logits = logits.div_(dims.logit_softcap).tanh_().mul_(dims.logit_softcap);
        const std::int64_t first = b * stream.batch * T, n = logits.size(0);
        const Tensor token = targets.narrow(0, first, n) - row,
                     here = token.ge(0).logical_and_(token.lt(rows.size(0))).nonzero().squeeze(1);
        use(b, rows, logits, log_sum.narrow(0, first, n), here + first,
            here * rows.size(0) + token.index_select(0, here));
      }
    }
  };
  each([&](std::int64_t, const Tensor&, const Tensor& logits, const Tensor& sum, const Tensor& here,
           const Tensor& at) {
    sum.copy_(torch::logaddexp(sum, torch::logsumexp(logits, -1)));
    picked.index_copy_(0, here, logits.take(at));
  });
  const double loss = (log_sum - picked).mean(torch::kFloat64).item<double>();
  const Tensor gradient = torch::zeros_like(stream.states);
  each([&](std::int64_t b, const Tensor& rows, const Tensor& logits, const Tensor& sum,
           const Tensor&, const Tensor& at) {
    Tensor d = (logits - sum.unsqueeze(1)).exp_();
    d.put_(at, torch::full(at.sizes(), -1.0f), /*accumulate=*/true).div_(static_cast<double>(N));
    if (dims.logit_softcap > 0) d.mul_(1 - (logits / dims.logit_softcap).square());
    Stream{gradient, stream.batch}.at(b).narrow(1, 0, T).add_(
        d.matmul(rows).view({-1, T, dims.hidden}));
  });
  for (std::int64_t b = 0; b < stream.batches(); ++b) {
    const torch::AutoGradMode graph(true);
    const Tensor x = stream.at(b).clone().requires_grad_(true);
    const auto d =
        torch::autograd::grad({model.final_norm(x)}, {x}, {Stream{gradient, stream.batch}.at(b)});
    stream.at(b).copy_(d[0]);
  }
  return loss;
}

std::vector<const arch::TensorSpec*> tensors_of(const model::Transformer& model, int layer) {
  return arch::layer_tensors(model.arch(), model.dims(),
                             model.dims().layers[static_cast<std::size_t>(layer)]);
}

// `gradient` [1, T, H] of what the layer leaves in the stream becomes that of `before`, what it
// reads.
void back_through(model::Transformer& model, int layer, std::int64_t window, const Tensor& before,
                  const Tensor& gradient, const std::vector<Visitor*>& visitors) {
  std::vector<Tensor> inputs{before.clone().requires_grad_(true)};
  std::vector<Role> roles;
  for (const arch::TensorSpec* spec : tensors_of(model, layer)) {
    roles.push_back(spec->role);
    inputs.push_back(model.weight(spec->role, layer));
  }
  model.set_tap([&](model::Tap point, int l, const Tensor& value) {
    const torch::NoGradGuard no_graph;
    const Tensor seen = value.detach();
    for (Visitor* v : visitors) v->see(point, l, window, seen);
    value.register_hook([&visitors, point, l, window, seen](const Tensor& d) {
      const torch::NoGradGuard none;
      for (Visitor* v : visitors) v->see_gradient(point, l, window, seen, d);
    });
  });
  torch::autograd::variable_list d;
  {
    const torch::AutoGradMode graph(true);
    d = torch::autograd::grad({model.layer(layer, inputs[0])}, inputs, {gradient}, std::nullopt,
                              false, /*allow_unused=*/true);
  }
  model.set_tap({});
  gradient.copy_(d[0]);
  for (std::size_t i = 0; i < roles.size(); ++i)
    if (d[i + 1].defined())
      for (Visitor* v : visitors) v->see_weight(roles[i], layer, window, inputs[i + 1], d[i + 1]);
}

}  // namespace

double walk_back(const model::Transformer& source, const Tensor& ids,
                 const std::vector<Visitor*>& visitors, const WalkOptions& options,
                 std::vector<Visitor*> forward) {
  ESP_CHECK(!torch::InferenceMode::is_enabled(), internal, "gradients under InferenceMode");
  ESP_CHECK(ids.size(1) >= 2, usage,
            "gradients need windows of at least 2 tokens: the loss is that of the next token");
  const torch::NoGradGuard no_graph;
  Keeper keeper;
  Stream stream;
  {
    const torch::InferenceMode inference;
    forward.push_back(&keeper);
    Walk walk(source, ids, forward, options);
    walk.run();
    const torch::InferenceMode off(false);
    stream = {walk.stream().states.clone(), walk.stream().batch};
  }
  const model::AllocationReuse reuse;  // every window needs the same blocks
  model::Transformer model = source;
  const double loss = output_gradient(model, ids, stream);
  ESP_CHECK(std::isfinite(loss), input,
            "the loss of this text is not finite: logits exceed the range of float32");
  stream.batch = 1;
  for (Visitor* v : visitors) v->begin(model, ids, stream);
  const std::int64_t n = model.dims().n_layers();
  for (int layer = static_cast<int>(n) - 1; layer >= 0; --layer) {
    model.load_layer(layer);
    for (const arch::TensorSpec* spec : tensors_of(model, layer))
      model.set_weight(spec->role, layer,
                       model.weight(spec->role, layer).detach().requires_grad_(true));
    for (Visitor* v : visitors) v->layer_begin(model, layer);
    const Stream before{keeper.kept.back(), 1};
    for (std::int64_t w = 0; w < stream.batches(); ++w)
      back_through(model, layer, w, before.at(w), stream.at(w), visitors);
    for (Visitor* v : visitors) v->layer_end(model, layer, stream);
    model.unload_layer(layer);
    keeper.kept.pop_back();
    if (options.progress) options.progress({"gradients", n - layer, n, "layers", ""});
  }
  return loss;
}

std::int64_t walk_back_bytes(const arch::ModelDims& dims, std::int64_t tokens) {
  return 4 * tokens * dims.hidden * dims.n_layers();
}

}  // namespace espalier::layerwise
