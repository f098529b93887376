// SPDX-License-Identifier: Apache-2.0
// How texts are read, as an option: of a verb, and of the texts of a recipe.
#pragma once
#include <string>

#include "options/option.h"
#include "text/documents.h"

namespace espalier::stages {

// The key under `text` of a recipe, and the name of the verbs' option.
inline constexpr const char* kControlTokens = "control_tokens";
inline constexpr const char* kTextControlTokens = "text_control_tokens";

inline options::List describe(text::Reading& reading, const char* name) {
  options::List list;
  list.begin_group("inputs and output");
  list.add_choice<bool>(name, reading.control_tokens, {{"yes", true}, {"no", false}},
                        "whether control tokens that are written out in a text, such as end tokens "
                        "between documents, are read as tokens");
  return list;
}

}  // namespace espalier::stages
