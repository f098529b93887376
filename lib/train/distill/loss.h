// SPDX-License-Identifier: Apache-2.0
// What a distillation loss is: the divergence of the student's next-token distribution from the
// teacher's, per token. One file per loss in losses/, one line in losses.inc. Temperature, weights,
// masks, chunking and the sum over tokens are chunked_loss's business.
#pragma once
#include <torch/types.h>

#include <span>
#include <string_view>

namespace espalier::distill {

struct Loss {
  std::string_view name;
  // Log-probabilities [n, vocab] of student and teacher -> [n], each >= 0 and 0 when they agree.
  // Differentiable in the student by autograd.
  torch::Tensor (*divergence)(const torch::Tensor& student_log, const torch::Tensor& teacher_log);
  bool fused;  // row_loss.h holds the same formula with its gradient
  bool sparse =
      false;  // and one for a teacher known on its likeliest tokens only (sparse_logits.h)
};

std::span<const Loss* const> all_losses();
const Loss& loss_by_name(std::string_view name);  // Error(usage) naming the nearest one

}  // namespace espalier::distill
