// SPDX-License-Identifier: Apache-2.0
// The terms of text and logits, chunked over tokens, with their gradient computed in the same pass.
// Logits exist for one chunk of tokens at a time, in two buffers that all chunks share.
//
// In float32, terms that row_loss.h holds go through it. All others, and every other dtype, are
// differentiated by autograd within a chunk.
//
// Results are sums, not means: the caller divides. They depend on the number of threads only as far
// as matrix products do.
#pragma once
#include <torch/types.h>

#include <cstdint>
#include <vector>

#include "objective/sparse_logits.h"
#include "objective/term.h"

namespace espalier::objective {

// Memory that one call passes to the next. Blocks this large do not fit into the gaps that other
// tensors leave.
struct LogitBuffers {
  torch::Tensor student, teacher;  // [tokens of a chunk, V]
};

struct WeightedTerm {
  const Term* term;
  double weight;
};

struct ChunkedLossInput {
  torch::Tensor student_hidden;  // [n, H] after the final norm
  torch::Tensor student_output;  // [V, H] parameter
  torch::Tensor teacher_hidden;  // [n, Ht]; undefined: no terms of logits
  torch::Tensor teacher_output;  // [V, Ht]
  // Instead of a teacher, for cacheable terms: n rows at `temperature`.
  SparseLogits sparse_teacher;
  torch::Tensor targets;            // int64 [n], -1: not scored (mask)
  std::vector<WeightedTerm> terms;  // of text and logits
  TermOptions term_options;
  double temperature = 1.0;
  double student_softcap = 0, teacher_softcap = 0;  // c in logits c tanh(x / c); 0: logits x
  bool output_gradient = true;                      // accumulate into student_output.grad()
  bool hidden_gradient = true;
  // Number of tokens whose logits exist at a time. 0: chosen by the size of the vocabulary.
  std::int64_t token_chunk = 0;
  torch::ScalarType matmul_dtype = torch::kFloat32;
};
struct ChunkedLoss {
  double loss_sum = 0;  // of all terms with their weights
  // Of each term; of logits: temperature^2 * divergence at that temperature, 0 without a teacher.
  std::vector<double> sums;
  std::int64_t tokens = 0;        // number of scored tokens
  torch::Tensor hidden_gradient;  // d loss_sum / d student_hidden, [n, H]
};
ChunkedLoss chunked_loss(const ChunkedLossInput& input, LogitBuffers& buffers);
inline ChunkedLoss chunked_loss(const ChunkedLossInput& input) {
  LogitBuffers buffers;
  return chunked_loss(input, buffers);
}

}  // namespace espalier::objective
