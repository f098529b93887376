// SPDX-License-Identifier: Apache-2.0
// Wanda-sp: sum over outputs i of |W_ij| times the L2 norm of input j, which is
//
//   ||x_j||_2 ||W_j||_1
//
// x_j is what the consumer reads of channel j over all tokens, W_j its column. That of a KV group
// is the sum over its channels. An et al. 2023 (FLAP), arXiv 2312.11983, which calls so the
// structured form of Sun et al. 2023 (Wanda), arXiv 2306.11695.
#include "prune/criteria/common.h"

namespace espalier::prune {
namespace wanda_sp {

std::vector<double> score(const CriterionInput& input, arch::Axis axis, int layer) {
  return per_index(input, axis, layer,
                   input.sums.at(sum_name(axis, "squares"), layer).sqrt() *
                       consumer(input, axis, layer).to(torch::kFloat64).abs().sum(0));
}

}  // namespace wanda_sp

extern const Criterion k_wanda_sp;
const Criterion k_wanda_sp{"wanda_sp",
                           "norm of the input x L1 norm of the consumer column (arXiv 2312.11983)",
                           {"channel_moments"},
                           Scope::layer,
                           {arch::Axis::ffn, arch::Axis::kv_groups},
                           wanda_sp::score};

}  // namespace espalier::prune
