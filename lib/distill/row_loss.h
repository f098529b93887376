// One token's forward KL and cross-entropy with the gradient by the logits, written over the logits. Every pass is over one row, which
// fits the second-level cache together with the teacher's; three reads of each in all.
#pragma once
#include <cstdint>

namespace espalier::distill {

struct RowWeights {
  float kl, ce, temperature;
};
struct RowLoss {
  double kl = 0;  // temperature^2 * KL(softmax(teacher / temperature) || softmax(student / temperature))
  double ce = 0;  // -log softmax(student)[target]
};

// `student`: logits in, d(kl_weight * kl + ce_weight * ce) / d logits out. `teacher`: logits, overwritten; null = no KL. target < 0: the
// token is not scored, its gradient is zero.
RowLoss row_loss(float* student, float* teacher, std::int64_t vocab, std::int64_t target, const RowWeights& weights);

}  // namespace espalier::distill
