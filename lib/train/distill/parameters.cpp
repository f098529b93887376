// SPDX-License-Identifier: Apache-2.0
// Builds the flat buffers and makes the model's weights views of them.
#include "distill/parameters.h"

#include <sys/mman.h>

#include "arch/arch.h"

namespace espalier::distill {
namespace {

using torch::Tensor;
constexpr std::int64_t kAlign = 16;  // floats: 64 bytes

// Zeroed, and in the host's memory on huge pages where the system allows it. The optimizer and the
// products with embeddings walk hundreds of megabytes.
Tensor flat_buffer(std::int64_t n, torch::Device device) {
  const Tensor out = torch::empty({n}, torch::TensorOptions(torch::kFloat32).device(device));
#if defined(MADV_HUGEPAGE)
  if (!out.is_cpu()) return out.zero_();
  constexpr std::uintptr_t kPage = 2 << 20;
  const auto begin = (reinterpret_cast<std::uintptr_t>(out.data_ptr()) + kPage - 1) / kPage * kPage;
  const auto end = (reinterpret_cast<std::uintptr_t>(out.data_ptr()) +
                    static_cast<std::uintptr_t>(n) * sizeof(float)) /
                   kPage * kPage;
  // Only advice: a system without huge pages works with small pages.
  if (begin < end)
    static_cast<void>(madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE));
#endif
  return out.zero_();
}

}  // namespace

Parameters::Parameters(model::Transformer& model, bool train_embeddings, double weight_decay,
                       std::span<Tensor> extras) {
  torch::NoGradGuard no_grad;
  std::int64_t total = 0;
  std::vector<std::pair<Tensor*, std::int64_t>> places;
  const auto place = [&](Tensor& tensor, double decay) {
    places.emplace_back(&tensor, total);
    segments_.push_back({total, tensor.numel(), decay});
    total += (tensor.numel() + kAlign - 1) / kAlign * kAlign;
  };
  for (const arch::TensorRef& ref : arch::tensors(model.arch(), model.dims())) {
    Tensor& weight = model.weight(ref.spec->role, ref.layer);
    if (!weight.requires_grad() || weight.numel() == 0 ||
        (!train_embeddings && ref.spec->role == arch::Role::token_embd)) {
      weight.set_requires_grad(false);
      continue;
    }
    place(weight, ref.is_vector ? 0.0 : weight_decay);
  }
  for (Tensor& extra : extras) place(extra, 0.0);
  for (Tensor* flat : {&values_, &gradients_, &first_, &second_})
    *flat = flat_buffer(total, model.device());
  for (const auto& [tensor, begin] : places) {
    const auto view = [&, at = begin, shown = tensor](const Tensor& flat) {
      return flat.narrow(0, at, shown->numel()).view(shown->sizes()).detach();
    };
    Tensor value = view(values_);
    value.copy_(*tensor);
    value.set_requires_grad(true);
    value.mutable_grad() = view(gradients_);
    *tensor = value;
  }
}

void Parameters::set_state(const std::map<std::string, Tensor>& state) {
  if (values_.is_cpu()) return;
  values_.copy_(state.at("values"));
  first_.copy_(state.at("first_moment"));
  second_.copy_(state.at("second_moment"));
}

}  // namespace espalier::distill
