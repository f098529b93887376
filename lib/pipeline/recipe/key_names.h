// SPDX-License-Identifier: Apache-2.0
// Messages of a stage, which speaks of the flags of its verb, for who wrote a recipe.
#pragma once
#include <string>

#include "core/error.h"
#include "recipe/step.h"

namespace espalier::recipe {

// The message with the keys of the stage in place of its flags: "--ffn 100" becomes "ffn 100".
// Command lines, which stand between backticks or after a quote, stay as they are.
std::string with_key_names(const std::string& message, const Step& step);

// Runs `work`. Its Error leaves with the keys of the stage, behind `place`.
template <typename Work>
auto speaking_of_keys(const Step& step, const std::string& place, Work&& work) {
  try {
    return work();
  } catch (const core::Error& e) {
    throw core::Error(e.kind(), place + with_key_names(e.what(), step));
  }
}

}  // namespace espalier::recipe
