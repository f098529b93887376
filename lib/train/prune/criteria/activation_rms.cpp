// SPDX-License-Identifier: Apache-2.0
// RMS of activations: the L2 norm of the channel over all tokens, Minitron's L2 over the batch and
// the sequence alike. That of a KV group is the norm over its channels as well. Muralidharan et al.
// 2024 (Minitron), arXiv 2407.14679.
#include <cmath>

#include "prune/criteria/common.h"

namespace espalier::prune {
namespace activation_rms {

std::vector<double> score(const CriterionInput& input, arch::Axis axis, int layer) {
  std::vector<double> out =
      per_index(input, axis, layer, input.sums.at(sum_name(axis, "squares"), layer));
  for (double& v : out) v = std::sqrt(v);
  return out;
}

}  // namespace activation_rms

extern const Criterion k_activation_rms;
const Criterion k_activation_rms{"activation_rms",
                                 "root of the mean squared activation (Minitron, arXiv 2407.14679)",
                                 {"channel_moments"},
                                 Scope::layer,
                                 {arch::Axis::hidden, arch::Axis::ffn, arch::Axis::kv_groups},
                                 activation_rms::score};

}  // namespace espalier::prune
