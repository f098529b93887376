// SPDX-License-Identifier: Apache-2.0
// Weights of the Transformer: allocation by the architecture's table, and reading and writing of
// checkpoints.
#include "model/transformer.h"

#include <cmath>

#include "core/error.h"
#include "core/rng.h"
#include "model/host_rows.h"
#include "model/precision.h"

namespace espalier::model {

using arch::Role;
using arch::TensorRef;
using torch::Tensor;

namespace {
std::vector<std::int64_t> shape(const TensorRef& ref) {
  return ref.is_vector ? std::vector<std::int64_t>{ref.rows}
                       : std::vector<std::int64_t>{ref.rows, ref.cols};
}
}  // namespace

Transformer::Transformer(const arch::Arch& arch, const arch::ModelDims& dims,
                         const TransformerOptions& options)
    : Transformer(arch, dims, options, nullptr) {
  for (const TensorRef& ref : arch::tensors(arch, dims)) {
    Tensor value = torch::zeros(shape(ref), values());
    weights_.emplace(std::pair(ref.spec->role, ref.layer),
                     value.set_requires_grad(options.trainable));
  }
}

Transformer::Transformer(const arch::Arch& arch, const arch::ModelDims& dims,
                         const TransformerOptions& options, const checkpoint::Checkpoint* source)
    : arch_(&arch), dims_(dims), options_(options), source_(source) {
  ESP_CHECK(options.matmul_dtype == torch::kFloat32 || options.matmul_dtype == torch::kBFloat16,
            usage, "matrix products must be float32 or bfloat16, not ",
            torch::toString(options.matmul_dtype));
  global_rotation_.inverse_frequencies =
      torch::tensor(arch::rope_inverse_frequencies(dims, false), torch::kFloat64);
  local_rotation_.inverse_frequencies =
      torch::tensor(arch::rope_inverse_frequencies(dims, true), torch::kFloat64);
  long_text_rotation_.inverse_frequencies =
      torch::tensor(arch::rope_inverse_frequencies(dims, false, true), torch::kFloat64);
}

torch::ScalarType matmul_dtype(const std::string& precision) {
  return matmul_precision(precision) == "bfloat16" ? torch::kBFloat16 : torch::kFloat32;
}

Transformer Transformer::load(const checkpoint::Checkpoint& source,
                              const TransformerOptions& options) {
  Transformer model(source.arch(), source.dims(), options);
  HostRows rows(source);
  for (const TensorRef& ref : arch::tensors(source.arch(), source.dims()))
    rows.read(ref.spec->role, ref.layer, 0, model.weight(ref.spec->role, ref.layer));
  return model;
}

void Transformer::read(const TensorRef& ref, HostRows& rows) {
  const Tensor value = torch::empty(shape(ref), values());
  rows.read(ref.spec->role, ref.layer, 0, value);
  weights_.insert_or_assign({ref.spec->role, ref.layer}, value);
}

Transformer Transformer::open(const checkpoint::Checkpoint& source,
                              const TransformerOptions& options) {
  Transformer model(source.arch(), source.dims(), options, &source);
  HostRows rows(source);
  for (const TensorRef& ref : arch::tensors(source.arch(), source.dims()))
    if (ref.layer < 0 && !touches(ref.spec->rows, arch::Axis::vocab)) model.read(ref, rows);
  return model;
}
void Transformer::load_layer(int layer) {
  if (source_ == nullptr) return;
  HostRows rows(*source_);
  for (const TensorRef& ref : arch::tensors(*arch_, dims_))
    if (ref.layer == layer && !has(ref.spec->role, layer)) read(ref, rows);
}
void Transformer::unload_layer(int layer) {
  if (source_ != nullptr)
    std::erase_if(weights_, [&](const auto& entry) { return entry.first.second == layer; });
}
void Transformer::load_output() {
  if (has(output_role(), -1)) return;
  HostRows rows(*source_);
  read(arch::tensor_ref(*arch_, dims_, output_role(), -1), rows);
}
void Transformer::unload(Role role, int layer) {
  if (source_ != nullptr) weights_.erase({role, layer});
}

Tensor Transformer::rows(Role role, int layer, std::int64_t begin, std::int64_t n) const {
  if (source_ == nullptr || has(role, layer)) return weight(role, layer).narrow(0, begin, n);
  const Tensor out = torch::empty({n, arch::tensor_ref(*arch_, dims_, role, layer).cols}, values());
  HostRows(*source_).read(role, layer, begin, out);
  return out;
}

Transformer Transformer::random(const arch::Arch& arch, const arch::ModelDims& dims,
                                const TransformerOptions& options, std::uint64_t seed) {
  Transformer model(arch, dims, options);
  std::uint64_t stream = 0;
  for (const TensorRef& ref : arch::tensors(arch, dims)) {
    core::Rng rng(seed, stream++);
    const Tensor& value = model.weight(ref.spec->role, ref.layer);
    const Tensor host = value.is_cpu() ? value.detach() : torch::empty(value.sizes());
    float* out = host_values(host);
    const double spread = ref.is_vector ? 0.1 : 1.2 / std::sqrt(static_cast<double>(ref.cols));
    const double mean = ref.is_vector &&
                                (arch.norm == arch::Norm::rms || arch.norm == arch::Norm::layer) &&
                                !arch::weight_of(ref.spec->role)
                            ? 1.0
                            : 0.0;
    for (std::int64_t i = 0; i < value.numel(); ++i)
      out[i] = static_cast<float>(mean + spread * rng.normal());
    if (!value.is_cpu()) value.detach().copy_(host);
  }
  return model;
}

void Transformer::save(const std::string& directory, const checkpoint::Checkpoint& like,
                       const checkpoint::WriteOptions& options) const {
  checkpoint::CheckpointWriter writer(
      directory, *arch_, dims_, options,
      {like.hf_config(), checkpoint::carried_tokenizer(like), like.hf_generation_config(),
       checkpoint::derived(like.description(), like.parent_name())});
  for (const TensorRef& ref : arch::tensors(*arch_, dims_)) {
    const Tensor value =
        weight(ref.spec->role, ref.layer).detach().to(torch::kCPU, torch::kFloat32).contiguous();
    writer.write_rows(ref.spec->role, ref.layer,
                      {host_values(value), static_cast<std::size_t>(value.numel())});
  }
  writer.finish();
}

Tensor& Transformer::weight(Role role, int layer) {
  const auto found = weights_.find({role, layer});
  ESP_CHECK(found != weights_.end(), internal, "the model has no tensor ",
            arch::gguf_name(role, layer));
  return found->second;
}
const Tensor& Transformer::weight(Role role, int layer) const {
  const auto found = weights_.find({role, layer});
  ESP_CHECK(found != weights_.end(), internal, "the model has no tensor ",
            arch::gguf_name(role, layer));
  return found->second;
}
std::vector<Tensor> Transformer::parameters() const {
  std::vector<Tensor> out;
  for (const TensorRef& ref : arch::tensors(*arch_, dims_))
    out.push_back(weight(ref.spec->role, ref.layer));
  return out;
}

}  // namespace espalier::model
