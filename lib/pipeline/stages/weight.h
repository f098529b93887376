// SPDX-License-Identifier: Apache-2.0
// A text and its weight among several, as users write them: "PATH:2".
#pragma once
#include <string>

#include "options/option.h"

namespace espalier::stages {

// In place of a text: what the model writes itself. A file of that name is ./self.
inline constexpr const char* kSelf = "self";

struct Weighted {
  std::string name;  // a path, or a name of a recipe
  double weight = 1;
};

// A file of that full name, as `exists(word)` says, is that file. Error(usage) for a weight that is
// no number above 0.
template <typename Exists>
Weighted split_weight(const std::string& word, Exists&& exists) {
  const auto colon = word.rfind(':');
  if (colon == std::string::npos || colon == 0 || exists(word)) return {word};
  Weighted out{word.substr(0, colon)};
  options::Option weight{.name = "weight", .value = &out.weight, .help = ""};
  options::read(weight.above(0), word.substr(colon + 1));
  return out;
}

}  // namespace espalier::stages
