// SPDX-License-Identifier: Apache-2.0
// One token's forward KL and cross-entropy with the gradient by the logits, written over the
// logits. Every pass is over one row, which fits the second-level cache together with the
// teacher's; three reads of each in all.
#pragma once
#include <cstdint>

namespace espalier::distill {

struct RowWeights {
  float kl, ce, temperature;
};
struct RowLoss {
  double kl =
      0;  // temperature^2 * KL(softmax(teacher / temperature) || softmax(student / temperature))
  double ce = 0;  // -log softmax(student)[target]
};

// `student`: logits in, d(kl_weight * kl + ce_weight * ce) / d logits out. `teacher`: logits,
// overwritten; null = no KL. target < 0: the token is not scored, its gradient is zero.
RowLoss row_loss(float* student, float* teacher, std::int64_t vocab, std::int64_t target,
                 const RowWeights& weights);

// The same with a teacher known on k tokens K and by the mass p_R of all others (sparse_logits.h):
//   kl = temperature^2 * (sum_{i in K} p_i log(p_i / q_i) + p_R log(p_R / q_R)),  q = softmax(student / temperature),  q_R = sum_{j not in K} q_j
// the divergence of the two distributions with the tokens outside K taken for one event. It is
// never above the full one (log-sum inequality), is it when K is the vocabulary, and zero at the
// teacher. Without the rest event, with p renormalised on K, it is none of these: the student that
// reaches zero then gives K all its mass, the more overconfident the smaller k (Anshumann et al.
// 2025, arXiv:2503.16870). Gradient by the logits, times temperature:
//   q_i - p_i for i in K,  q_j (1 - p_R / q_R) for the others.
struct SparseRow {
  const std::int32_t* ids;         // k of them, distinct, in [0, vocab)
  const float* log_probabilities;  // [k], at the temperature of `weights`
  std::int64_t k;
  float rest;  // p_R; 0 when k = vocab
};
// `scratch`: k floats.
RowLoss sparse_row_loss(float* student, const SparseRow& teacher, float* scratch,
                        std::int64_t vocab, std::int64_t target, const RowWeights& weights);

}  // namespace espalier::distill
