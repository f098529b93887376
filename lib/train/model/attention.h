// SPDX-License-Identifier: Apache-2.0
// Causal grouped-query attention in float32, with its backward pass. Scores exist for one block of
// queries of one head at a time, in a buffer that stays in the second-level cache. The backward
// pass recomputes them from q, k and one number per row.
//
// Dao, Fu, Ermon, Rudra, Re 2022, arXiv:2205.14135, without the tiling over keys, which short
// windows do not need.
#pragma once
#include <torch/types.h>

namespace espalier::model {

// softmax(q k^T / sqrt(D), causal) v per head. Query head n reads group n / (N / K). All sizes are
// allowed. Results do not depend on the number of threads. Returns BTND.
torch::Tensor causal_attention(const torch::Tensor& q_BTND, const torch::Tensor& k_BTKD,
                               const torch::Tensor& v_BTKD);

}  // namespace espalier::model
