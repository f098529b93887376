// The distillation loss at the output layer, chunked over tokens (and vocabulary), with its gradient computed in the same pass: nothing
// of size [tokens, vocab] outlives a chunk.
#pragma once
#include <torch/torch.h>

#include <string>

namespace espalier::distill {

struct ChunkedLossInput {
  torch::Tensor student_hidden;  // [n, H] after the final norm, requires grad
  torch::Tensor student_output;  // [V, H] parameter
  torch::Tensor teacher_hidden;  // [n, Ht]; undefined = no KL
  torch::Tensor teacher_output;  // [V, Ht]
  torch::Tensor targets;         // int64 [n], -1 = not scored (mask)
  double kl_weight = 0.5, ce_weight = 0.5, temperature = 1.0;
  std::string loss = "forward_kl";
  bool output_gradient = true;   // accumulate into student_output.grad()
};
struct ChunkedLoss {
  double loss_sum = 0, kl_sum = 0, ce_sum = 0;
  std::int64_t tokens = 0;       // scored
  torch::Tensor hidden_gradient; // d loss_sum / d student_hidden, [n, H]
};
ChunkedLoss chunked_loss(const ChunkedLossInput& input);

}  // namespace espalier::distill
