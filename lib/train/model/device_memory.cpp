// SPDX-License-Identifier: Apache-2.0
// Makes the models, runs the passes, and reads the counter in between.
#include "model/device_memory.h"

#include <utility>

#include "model/allocation_counter.h"
#include "model/ops/operations.h"
#include "model/transformer.h"

namespace espalier::model {

using torch::Tensor;
namespace {

// Gradients exist before the first step and are added to in place, as in training.
void provide_gradients(const Transformer& model) {
  for (const auto& [key, weight] : model.weights()) {
    Tensor leaf = weight;
    leaf.mutable_grad() = torch::zeros_like(leaf);
  }
}

void run_passes(const Transformer& student, const Transformer* teacher, const Tensor& ids) {
  Tensor teacher_hidden;
  if (teacher != nullptr) {
    const torch::NoGradGuard no_grad;
    teacher_hidden = teacher->hidden(ids);
  }
  const Tensor hidden = student.hidden(ids);
  hidden.backward(torch::zeros_like(hidden));
}

}  // namespace

DeviceMemory measured_memory(torch::DeviceType device, const ModelSize& student,
                             const std::optional<ModelSize>& teacher, const StepSize& step) {
  AllocationCounter counter(device);
  DeviceMemory out;
  std::int64_t before = 0;
  const auto added = [&] { return counter.held() - std::exchange(before, counter.held()); };
  const TransformerOptions options{.matmul_dtype = step.matmul_dtype, .device = device};
  std::optional<Transformer> of_teacher;
  if (teacher) of_teacher.emplace(teacher->arch, teacher->dims, options);
  out.teacher = added();
  TransformerOptions trained = options;
  trained.trainable = true;
  const Transformer of_student(student.arch, student.dims, trained);
  out.weights = added();
  provide_gradients(of_student);
  out.gradients = added();
  out.moments = 2 * out.gradients;
  counter.forget_peak();
  const Tensor ids =
      torch::zeros({step.windows, step.tokens}, torch::TensorOptions(torch::kInt64).device(device));
  run_passes(of_student, of_teacher ? &*of_teacher : nullptr, ids);
  out.passes = counter.peak() - before;
  return out;
}

DeviceMemory device_memory(const ModelSize& student, const std::optional<ModelSize>& teacher,
                           const StepSize& step) {
  const ForcedOperations as_on_any_device("reference");
  return measured_memory(torch::DeviceType::Meta, student, teacher, step);
}

}  // namespace espalier::model
