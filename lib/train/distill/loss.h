// SPDX-License-Identifier: Apache-2.0
// A distillation loss: the divergence of the student's next-token distribution from the teacher's,
// per token. A loss is one file in losses/ and one line in losses.inc. chunked_loss handles
// temperature, weights, masks, chunking and the sum over tokens.
#pragma once
#include <torch/types.h>

#include <span>
#include <string_view>

namespace espalier::distill {

struct Loss {
  std::string_view name;
  // Log-probabilities [n, vocab] of student and teacher -> [n]. Each value is >= 0, and 0 when they
  // agree. Autograd can differentiate it by the student.
  torch::Tensor (*divergence)(const torch::Tensor& student_log, const torch::Tensor& teacher_log);
  bool fused;  // row_loss.h holds the same formula with its gradient
  // row_loss.h also holds a form for a teacher that is known only on its likeliest tokens
  // (sparse_logits.h).
  bool sparse = false;
};

std::span<const Loss* const> all_losses();
const Loss& loss_by_name(std::string_view name);  // Error(usage) names the nearest name

}  // namespace espalier::distill
