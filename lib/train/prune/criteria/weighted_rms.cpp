// SPDX-License-Identifier: Apache-2.0
// Weighted RMS: E[x_j^2] * ||W_j||^2, the output energy of channel j if channels were uncorrelated.
// It is the structured form of Sun et al. 2023, "A Simple and Effective Pruning Approach for Large
// Language Models" (Wanda), arXiv 2306.11695.
#include "prune/criteria/common.h"

namespace espalier::prune {
namespace weighted_rms {

std::vector<double> score(const CriterionInput& input, arch::Axis axis, int layer) {
  torch::Tensor energy = input.sums.at(sum_name(axis, "squares"), layer);
  if (axis != arch::Axis::hidden)
    energy = energy * consumer(input, axis, layer).to(torch::kFloat64).square().sum(0);
  return per_index(input, axis, layer, energy);
}

}  // namespace weighted_rms

extern const Criterion k_weighted_rms;
const Criterion k_weighted_rms{
    "weighted_rms",
    "E[x^2] x squared norm of the consumer column (Wanda, arXiv 2306.11695)",
    {"channel_moments"},
    Scope::layer,
    {arch::Axis::hidden, arch::Axis::ffn, arch::Axis::kv_groups},
    weighted_rms::score};

}  // namespace espalier::prune
