// SPDX-License-Identifier: Apache-2.0
// What a result is made from, by the names that a recipe gives: so that a verb on the files of a
// recipe writes what the recipe writes.
#pragma once
#include <map>
#include <string>

#include "stages/stage.h"

namespace espalier::tool {

// Name -> SHA-256 of the inputs of a GGUF. Only of a model that a stage of a recipe made, whose
// manifest says the hash: others would have to be read once more.
std::map<std::string, std::string> lineage_of(const stages::Stage& stage,
                                              const stages::Context& context);

}  // namespace espalier::tool
