// SPDX-License-Identifier: Apache-2.0
// Forward KL and cross-entropy of one token, with the gradient by the logits written over the
// logits. Every pass is over one row, which fits the second-level cache together with the teacher's
// row. Each row is read three times in all.
#pragma once
#include <cstdint>

namespace espalier::objective {

struct RowWeights {
  float kl, ce, temperature;
};
struct RowLoss {
  // temperature^2 * KL(softmax(teacher / temperature) || softmax(student / temperature)).
  double kl = 0;
  double ce = 0;  // -log softmax(student)[target]
};

// `student`: logits in, d(kl_weight * kl + ce_weight * ce) / d logits out. `teacher`: logits, which
// are overwritten; null: no KL. target < 0: the token is not scored, and its gradient is zero.
RowLoss row_loss(float* student, float* teacher, std::int64_t vocab, std::int64_t target,
                 const RowWeights& weights);

// The same for a teacher that is known on k tokens K and by the mass p_R of all others
// (sparse_logits.h):
//
//   kl = temperature^2 * (sum_{i in K} p_i log(p_i / q_i) + p_R log(p_R / q_R))
//   q = softmax(student / temperature),  q_R = sum_{j not in K} q_j
//
// It is the divergence of the two distributions when the tokens outside K count as one event,
// "rest". It is a lower bound of the full KL (log-sum inequality), equals it when K is the whole
// vocabulary, and is zero for a perfect student.
//
// Without the rest event, with p renormalised on K, all three properties are lost. A student that
// reaches zero then gives K all its mass, and is more overconfident the smaller k is (Anshumann et
// al. 2025, arXiv:2503.16870).
//
// Gradient by the logits, times temperature:
//   q_i - p_i for i in K,  q_j (1 - p_R / q_R) for the others.
struct SparseRow {
  const std::int32_t* ids;         // [k] distinct ids in [0, vocab)
  const float* log_probabilities;  // [k], at the temperature of `weights`
  std::int64_t k;
  float rest;  // p_R; 0 when k = vocab
};
// `scratch` has room for k floats.
RowLoss sparse_row_loss(float* student, const SparseRow& teacher, float* scratch,
                        std::int64_t vocab, std::int64_t target, const RowWeights& weights);

}  // namespace espalier::objective
