// SPDX-License-Identifier: Apache-2.0
// Follows the stages step by step.
#include "timing/stages.h"

#include <algorithm>

#include "arch/block.h"
#include "quant/imatrix.h"
#include "quant/measured_errors.h"
#include "timing/device.h"
#include "timing/files.h"
#include "timing/layers.h"
#include "timing/rounding.h"
#include "timing/sums.h"

namespace espalier::timing {
namespace {

std::int64_t weights_of(const Model& model) { return arch::parameters(*model.arch, model.dims); }

std::int64_t layer_weights_of(const Model& model) {
  std::int64_t out = 0;
  for (const arch::TensorRef& t : arch::tensors(*model.arch, model.dims))
    if (t.layer >= 0) out += t.elements();
  return out;
}

// One walk: every layer is read, and all tokens go through it.
Work walk(const Stored& stored, const Text& text) {
  Work out;
  out += forward(stored.model, text);
  out += decode(layer_weights_of(stored.model), stored.format);
  return out;
}

std::int64_t columns(const arch::Block& block, const arch::ModelDims& dims,
                     const arch::LayerDims& layer) {
  return arch::length(block.find(block.consumer)->cols, dims, &layer);
}

std::int64_t reader_rows(const arch::Block& block, const arch::ModelDims& dims,
                         const arch::LayerDims& layer) {
  std::int64_t out = 0;
  for (const arch::Role role : block.readers)
    out += arch::length(block.find(role)->rows, dims, &layer);
  return out;
}

// Readers and consumer of a block are fitted to what the exact stream has. before and after: of the
// layer. What is cut is fitted twice. `ridges`: that are tried before a fit.
Work refit(const arch::Block& block, const arch::ModelDims& dims, const arch::LayerDims& before,
           const arch::LayerDims& after, const Text& text, int ridges) {
  const std::int64_t H = dims.hidden, n = columns(block, dims, before),
                     kept = columns(block, dims, after);
  // A ridge is tried on every fourth output (layerwise/held_out.h).
  const auto fit = [&](std::int64_t width) {
    Work out{solve(width, H)};
    for (int i = 0; i < ridges; ++i) out += solve(width, H / 4);
    return out;
  };
  Work out;
  out += equations(H, H, text);
  out += fit(H);
  out += product(reader_rows(block, dims, before), H, H);
  out += equations(n, H, text);
  if (kept != n) out += solve(n, H);
  out += fit(kept);
  return out;
}

// One block rounded by gptq: two factorizations, of what readers and consumer read.
Work round_block(const arch::Block& block, const arch::ModelDims& dims,
                 const arch::LayerDims& layer, format::FormatId format, const Place& place) {
  const std::int64_t H = dims.hidden, n = columns(block, dims, layer);
  Work out;
  out += factorize(H, place);
  out += round(reader_rows(block, dims, layer), H, format, quant::Rounding::gptq, place);
  out += factorize(n, place);
  out += round(H, n, format, quant::Rounding::gptq, place);
  return out;
}

// Calls f(block, layer) for every block of every layer.
template <typename F>
void each_block(const Model& model, F&& f) {
  for (std::size_t l = 0; l < model.dims.layers.size(); ++l)
    for (const arch::Block& block : model.arch->blocks)
      if (block.in(model.dims.layers[l]) && arch::is_computed(block.kind)) f(block, l);
}

Work round_all(const QuantizeWork& stage, const Place& place) {
  Work out;
  for (const arch::TensorRef& t : arch::tensors(*stage.source.model.arch, stage.source.model.dims))
    if (!t.is_vector) out += round(t.rows, t.cols, stage.format, stage.rounding, place);
  if (stage.rounding == quant::Rounding::gptq)
    each_block(stage.source.model, [&](const arch::Block& block, std::size_t l) {
      const arch::ModelDims& dims = stage.source.model.dims;
      out += factorize(dims.hidden, place);
      out += factorize(columns(block, dims, dims.layers[l]), place);
    });
  return out;
}

Work round_by_layer(QuantizeWork stage, const Place& place) {
  if (format::info(stage.format).bits_per_weight() >= quant::kFineBits) stage.text.bf16 = false;
  const Model& model = stage.source.model;
  const arch::ModelDims& dims = model.dims;
  Work out = walk(stage.source, stage.text);
  out += forward(model, stage.text);  // of the rounded stream
  each_block(model, [&](const arch::Block& block, std::size_t l) {
    out += refit(block, dims, dims.layers[l], dims.layers[l], stage.text, 0);
    out += round_block(block, dims, dims.layers[l], stage.format, place);
  });
  // The embedding, by the second moments of what the output matrix reads.
  out += factorize(dims.hidden, place);
  out += (dims.tied ? 1.0 : 2.0) *
         Work{round(dims.vocab, dims.hidden, stage.format, quant::Rounding::gptq, place)};
  return out;
}

// A few tokens go through every layer once more for each of its matrices, and for every matrix that
// is followed through half of the layers.
Work measure_layer_errors(const QuantizeWork& stage, const Place& place) {
  const Model& model = stage.source.model;
  const auto layers = static_cast<double>(model.dims.n_layers());
  double matrices = 0;
  Work out;
  for (const arch::TensorRef& t : arch::tensors(*model.arch, model.dims)) {
    if (t.is_vector) continue;
    out += round(t.rows, t.cols, format::FormatId::q4_0, quant::Rounding::imatrix, place);
    if (t.layer >= 0) matrices += 1;
  }
  const double followed = std::min(matrices, static_cast<double>(quant::kFollowedMatrices));
  Text few = stage.text;
  few.tokens = std::min(few.tokens, quant::kLayerErrorTokens);
  few.bf16 = false;
  out += (matrices / layers + followed / 2) * Work{forward(model, few)};
  out += walk(stage.source, few);
  out += followed * Work{output(model.dims, few.tokens)};
  return out;
}

}  // namespace

std::int64_t Stored::bytes() const {
  std::int64_t out = 0;
  for (const arch::TensorRef& t : arch::tensors(*model.arch, model.dims))
    out += t.is_vector ? 4 * t.elements() : format::matrix_bytes(format, t.rows, t.cols);
  return out;
}

Work work_of(const PruneWork& stage, const Place& place) {
  const Model& before = stage.source.model;
  const Model after{before.arch, stage.after};
  Work out;
  out += hash(stage.source.bytes());
  if (stage.gives_scores) out += walk(stage.source, stage.text);
  out += walk(stage.source, stage.text);
  // Layers that go have no refit; those that stay are taken to be the first ones.
  const std::size_t kept = std::min(before.dims.layers.size(), stage.after.layers.size());
  Model followed = before;  // readers are cut when their block has been computed
  followed.dims.layers.resize(kept);
  out += forward(followed, stage.text);
  if (stage.refits)
    each_block(followed, [&](const arch::Block& block, std::size_t l) {
      out += refit(block, before.dims, before.dims.layers[l], stage.after.layers[l], stage.text,
                   stage.ridges);
    });
  out += decode(weights_of(before), stage.source.format);
  out += write(4 * weights_of(after), place);
  out += hash(4 * weights_of(after));
  return out;
}

Work work_of(const DistillWork& stage, const Place& place) {
  const Model& student = stage.student.model;
  const std::int64_t tokens = stage.tokens_per_step;
  const Text text{tokens, stage.sequence, stage.windows_at_once * stage.sequence, stage.bf16};
  Work step;
  step += train(student, text);
  // Logits, and the gradients by what the output matrix reads and by itself.
  step += (stage.trains_embeddings ? 3.0 : 2.0) * Work{output(student.dims, tokens)};
  if (stage.teacher != nullptr) {
    step += forward(stage.teacher->model, text);
    step += output(stage.teacher->model.dims, tokens);
  }
  step += loss(student.dims.vocab, tokens);
  step += optimizer(weights_of(student));
  Work out = static_cast<double>(stage.steps) * std::move(step);
  for (const Stored* model : {&stage.student, stage.teacher}) {
    if (model == nullptr) continue;
    out += hash(model->bytes());
    out += decode(weights_of(model->model), model->format);
  }
  out += write((12 * stage.checkpoints + 4) * weights_of(student), place);
  out += hash(4 * weights_of(student));
  return out;
}

Work work_of(const CalibrateWork& stage, const Place& place) {
  Work out = walk(stage.source, stage.text);
  out += hash(stage.source.bytes());
  if (!stage.gram) return out;
  std::int64_t bytes = 0;
  each_block(stage.source.model, [&](const arch::Block& block, std::size_t l) {
    const arch::ModelDims& dims = stage.source.model.dims;
    const std::int64_t n = columns(block, dims, dims.layers[l]);
    out += gram(dims.hidden, stage.text);
    out += gram(n, stage.text);
    bytes += 4 * (dims.hidden * dims.hidden + n * n);
  });
  out += gram(stage.source.model.dims.hidden, stage.text);
  out += write(bytes, place);
  return out;
}

Work work_of(const QuantizeWork& stage, const Place& place) {
  Work out;
  const bool by_layer = stage.text.tokens > 0 && stage.rounding == quant::Rounding::gptq;
  if (stage.text.tokens > 0 && !stage.has_imatrix) {
    Text some = stage.text;
    if (!stage.budget && stage.rounding == quant::Rounding::gptq)
      some.tokens = quant::tokens_for_output(stage.source.model.dims.hidden, some.tokens);
    out += work_of(CalibrateWork{stage.source, some, stage.budget}, place);
    if (!stage.budget) out += gram(stage.source.model.dims.hidden, some);
  }
  if (stage.layer_errors) out += measure_layer_errors(stage, place);
  out += by_layer ? round_by_layer(stage, place) : round_all(stage, place);
  out += decode(weights_of(stage.source.model), stage.source.format);
  out += write(Stored{stage.source.model, stage.format}.bytes(), place);
  return out;
}

Work work_of(const VerifyWork& stage, const Place& place) {
  constexpr std::int64_t kRounds = 6, kRead = 512, kWritten = 128;  // of the benchmark
  const std::int64_t tokens = stage.windows * stage.context;
  const Text text{tokens, stage.context, stage.context};
  const std::int64_t vocab = stage.file.model.dims.vocab;
  Work out;
  const auto on_device = [&](const Stored& model, std::int64_t n, const std::string& isa) {
    const Text some{n, std::min(n, stage.context), 0};
    out += prefill(model.model, model.format, some, isa, place);
    out += device_output(model.model.dims, model.format, n, isa, place);
  };
  const auto on_training_side = [&](const Stored& model) {
    out += walk(model, text);
    out += output(model.model.dims, tokens);
  };
  if (stage.parity) {
    on_device(stage.file, stage.parity_tokens, "reference");
    on_device(stage.file, stage.parity_tokens, "");
    out += walk(stage.file, {stage.parity_tokens, stage.parity_tokens, stage.parity_tokens});
  }
  on_training_side(stage.teacher);
  for (const Stored& model : stage.trained) on_training_side(model);
  on_device(stage.file, tokens, "");
  for (const Stored& model : stage.others) on_device(model, tokens, "");
  const auto compared = static_cast<std::int64_t>(1 + stage.trained.size() + stage.others.size());
  out += compare(vocab, compared * tokens);
  out += hash(stage.file.bytes() + stage.teacher.bytes());
  if (!stage.speed) return out;
  out += prefill(stage.file.model, stage.file.format, {kRounds * kRead, kRead, 0}, "", place);
  out += write_tokens(kRounds * kWritten, stage.file.bytes(), stage.file.format, place);
  return out;
}

}  // namespace espalier::timing
