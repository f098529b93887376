// SPDX-License-Identifier: Apache-2.0
// A model directory without model.safetensors and without its index: what lies there instead.
#pragma once
#include <string>

namespace espalier::checkpoint {

// Error that names the weights that are there, and what to do: a link to nothing, shards without
// their index, files of other programs.
[[noreturn]] void refuse_absent_weights(const std::string& directory);

}  // namespace espalier::checkpoint
