// SPDX-License-Identifier: Apache-2.0
// Those operations of the reference that other rows fall back on for what they do not do faster.
#pragma once
#include "model/ops/operations.h"

namespace espalier::model::reference {

void fill(Operations& row);
torch::Tensor attention(const torch::Tensor& q_BTND, const torch::Tensor& k_BTKD,
                        const torch::Tensor& v_BTKD, const AttentionRule& rule);

}  // namespace espalier::model::reference
