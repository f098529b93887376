// SPDX-License-Identifier: Apache-2.0
// How much memory of a device a step of training takes: counted, not estimated. The step's passes
// run on LibTorch's device `meta`, which has sizes and no values, with the operations of the
// reference, as on a device without a row of its own.
//
// The count is of bytes that tensors ask for. What a device adds is not in it: its own context,
// rounding of blocks, and scratch of its libraries. The loss between the passes is not in it
// either: it works in chunks of logits, and the objective knows their size.
#pragma once
#include <torch/types.h>

#include <cstdint>
#include <optional>

#include "arch/arch.h"

namespace espalier::model {

struct ModelSize {
  const arch::Arch& arch;
  const arch::ModelDims& dims;
};
struct StepSize {
  std::int64_t windows, tokens;  // of one pass
  torch::ScalarType matmul_dtype = torch::kFloat32;
};

struct DeviceMemory {
  std::int64_t teacher = 0;                              // its weights
  std::int64_t weights = 0, gradients = 0, moments = 0;  // of the student
  // The most that the passes take at a time: the teacher's forward pass, then the student's forward
  // and backward passes while the teacher's hidden states wait for the loss.
  std::int64_t passes = 0;
  std::int64_t total() const { return teacher + weights + gradients + moments + passes; }
};

// Without a teacher: a student that learns from the text alone, or from a cache.
DeviceMemory device_memory(const ModelSize& student, const std::optional<ModelSize>& teacher,
                           const StepSize& step);
// The same on `device`, which is cpu or meta. On the CPU the passes are computed, on weights of
// zero and by the operations that operations() gives, and their memory is measured.
DeviceMemory measured_memory(torch::DeviceType device, const ModelSize& student,
                             const std::optional<ModelSize>& teacher, const StepSize& step);

}  // namespace espalier::model
