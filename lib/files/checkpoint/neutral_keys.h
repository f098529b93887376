// SPDX-License-Identifier: Apache-2.0
// Keys of config.json that no code of ours reads, and that leave the model as it is. There are
// three kinds:
// - a value that switches its feature off: null, false, 0, or something empty, whatever the key
//   is called. The few keys whose neutral value is another one are listed.
// - a name that says nothing about the forward pass of a decoder (training, generation, tokenizer)
// - a number that the file states a second time under another name. It must be the same.
#pragma once
#include <nlohmann/json.hpp>
#include <string>

#include "arch/arch.h"

namespace espalier::checkpoint {

// null, false, 0, "", [] and {}.
bool is_off(const nlohmann::json& value);

struct Neutral {
  bool yes = false;
  // Where it is not neutral because it contradicts what was read: what that is, else empty.
  std::string against = {};
};
// Of a key that was not read. `dims` holds what the other keys say.
Neutral neutral_key(const std::string& key, const nlohmann::json& value, const arch::Arch& arch,
                    const arch::ModelDims& dims);

}  // namespace espalier::checkpoint
