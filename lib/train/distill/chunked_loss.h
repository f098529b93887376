// SPDX-License-Identifier: Apache-2.0
// The distillation loss at the output layer, chunked over tokens, with its gradient computed in the
// same pass. Logits exist for one chunk of tokens at a time, in two buffers that all chunks share.
//
// Results are sums, not means: the caller divides. They depend on the number of threads only as far
// as matrix products do.
#pragma once
#include <torch/types.h>

#include <cstdint>
#include <string>

#include "distill/sparse_logits.h"

namespace espalier::distill {

// Memory that one call passes to the next. Blocks this large do not fit into the gaps that other
// tensors leave.
struct LogitBuffers {
  torch::Tensor student, teacher;  // [tokens of a chunk, V]
};

struct ChunkedLossInput {
  torch::Tensor student_hidden;  // [n, H] after the final norm
  torch::Tensor student_output;  // [V, H] parameter
  torch::Tensor teacher_hidden;  // [n, Ht]; undefined: no KL
  torch::Tensor teacher_output;  // [V, Ht]
  // Instead of a teacher, for losses with a sparse form: n rows at `temperature`.
  SparseLogits sparse_teacher;
  torch::Tensor targets;  // int64 [n], -1: not scored (mask)
  double kl_weight = 0.5, ce_weight = 0.5, temperature = 1.0;
  double student_softcap = 0, teacher_softcap = 0;  // c in logits c tanh(x / c); 0: logits x
  std::string loss = "forward_kl";
  bool output_gradient = true;  // accumulate into student_output.grad()
  bool hidden_gradient = true;
  // Number of tokens whose logits exist at a time. 0: chosen by the size of the vocabulary.
  std::int64_t token_chunk = 0;
  torch::ScalarType matmul_dtype = torch::kFloat32;
};
struct ChunkedLoss {
  double loss_sum = 0;            // kl_weight * kl_sum + ce_weight * ce_sum
  double kl_sum = 0, ce_sum = 0;  // kl: temperature^2 * divergence at that temperature
  std::int64_t tokens = 0;        // number of scored tokens
  torch::Tensor hidden_gradient;  // d loss_sum / d student_hidden, [n, H]
};
ChunkedLoss chunked_loss(const ChunkedLossInput& input, LogitBuffers& buffers);
inline ChunkedLoss chunked_loss(const ChunkedLossInput& input) {
  LogitBuffers buffers;
  return chunked_loss(input, buffers);
}

}  // namespace espalier::distill
