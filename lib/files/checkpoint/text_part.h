// SPDX-License-Identifier: Apache-2.0
// Models that read pictures or sound as well as text (...ForConditionalGeneration): their text part
// is a model of one of our families. For text alone they compute what that model computes.
//
// config.json has the part's keys in "text_config" (InternVL: "llm_config"), where keys are left
// out that have the value of the part's class. Older files of Qwen-VL have them beside
// "vision_config".
#pragma once
#include <optional>
#include <string>
#include <string_view>

namespace espalier::checkpoint {

struct TextPart {
  std::string config;      // the text of a config.json of the part alone
  std::string of;          // the model_type of the whole
  bool says_tied = false;  // whether anything says if the output matrix is the embedding
};
// Nothing for a model without other parts. Error(unsupported) for a whole or a part that is not
// known.
std::optional<TextPart> text_part(const std::string& config, const std::string& path);

// The part beside the text that a tensor of a whole belongs to, such as "vision_tower". Empty:
// none.
std::string other_part(std::string_view tensor);
// The name that a tensor of a whole has in the text part alone. `first` is the first component of
// the family's names ("model.").
std::string name_in_text_part(std::string_view tensor, const std::string& first);

}  // namespace espalier::checkpoint
