// SPDX-License-Identifier: Apache-2.0
// FLAP: the fluctuation of the consumer's input, weighted by the consumer:
//
//   ||W_j||^2 sum_t (x_tj - mean_j)^2 / (tokens - 1)
//
// An input that hardly moves can be replaced by its mean, which a bias carries. So the score ranks
// by what is left after a bias W_j mean_j makes up for the channels that go: the means are the sums
// "<axis>.mean" of the statistic fluctuation. That of a KV group is the sum over its channels. FLAP
// standardizes scores before it compares them across layers and axes; here sizes are given, so
// layers are not compared. An et al. 2023 (FLAP), arXiv 2312.11983.
#include "prune/criteria/common.h"

namespace espalier::prune {
namespace flap {

std::vector<double> score(const CriterionInput& input, arch::Axis axis, int layer) {
  const double tokens = input.sums.at(sum_name(axis, "count"), layer).item<double>();
  const torch::Tensor variance =
      input.sums.at(sum_name(axis, "deviations"), layer) / std::max(tokens - 1, 1.0);
  return per_index(input, axis, layer,
                   variance * consumer(input, axis, layer).to(torch::kFloat64).square().sum(0));
}

}  // namespace flap

extern const Criterion k_flap;
const Criterion k_flap{"flap",
                       "variance of the input x squared norm of the consumer column (FLAP, arXiv "
                       "2312.11983)",
                       {"fluctuation"},
                       Scope::model,
                       {arch::Axis::ffn, arch::Axis::kv_groups},
                       flap::score,
                       nullptr,
                       /*assumes_refit=*/true};

}  // namespace espalier::prune
