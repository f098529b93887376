// SPDX-License-Identifier: Apache-2.0
// The classes of transformers whose text part is a model of one of our families, with what absent
// keys of such a part mean.
#pragma once
#include <string_view>

namespace espalier::checkpoint {

struct TextClass {
  std::string_view type;      // model_type of the part
  std::string_view family;    // model_type of the family that computes the same for text
  std::string_view defaults;  // keys with the values of the class, as JSON
};

// Whether models of that type compute text as their text part alone does.
bool has_text_part(std::string_view type);
const TextClass* text_class(std::string_view type);  // nullptr: not known

}  // namespace espalier::checkpoint
