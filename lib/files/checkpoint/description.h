// SPDX-License-Identifier: Apache-2.0
// What the files of a model say about it besides what it computes: licence, author, origin, tags,
// sampling defaults, further ids of tokens. It goes along from model to model.
//
// In a GGUF these are the keys of general.* and of other programs. In a directory they are the
// front matter of README.md, with the keys of model cards, and generation_config.json.
#pragma once
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "format/gguf.h"

namespace espalier::checkpoint {

// Keys and values as in a GGUF, in order. The name of the model is among them where it is stated.
using Description = std::vector<std::pair<std::string, format::GgufValue>>;

const format::GgufValue* find(const Description& description, std::string_view key);

// Without what is made anew: sizes, tokenizer, types of tensors.
Description description_of(const format::GgufHeader& header);
// `directory` ends in '/'. `generation_config` is an object.
Description description_of(const std::string& directory, const nlohmann::json& generation_config);

// Of a model that is made from the described one, `parent`, by changing it: what holds only for the
// parent is left out, and the parent becomes the first base model. Without a name, as that of a
// step between two models has none, the base models stay.
Description derived(const Description& description, const std::string& parent);

// README.md of a directory. Empty when there is nothing to say.
std::string model_card(const Description& description);
// Whether model_card() wrote this file.
bool is_our_card(const std::string& path);

// Sampling defaults as keys of generation_config.json, beside ids of tokens. Empty without any.
std::string generation_config_of(const Description& description, const format::GgufHeader& header);

// What to call a model by its path: the last folder, the repository of a snapshot in the cache of
// Hugging Face (models--ORG--NAME/snapshots/HASH), the stage of a recipe (stages/NAME/model), or a
// file without its ending.
std::string model_name(const std::string& path);

}  // namespace espalier::checkpoint
