// SPDX-License-Identifier: Apache-2.0
// The names in losses.inc, without LibTorch.
#pragma once
#include <string>
#include <vector>

namespace espalier::distill {

std::vector<std::string> loss_names();

}  // namespace espalier::distill
