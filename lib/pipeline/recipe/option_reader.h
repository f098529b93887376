// SPDX-License-Identifier: Apache-2.0
// Described options from YAML: the keys of a stage, or of a whole file.
#pragma once
#include <string>

#include "options/given.h"
#include "options/option.h"
#include "recipe/yaml_reader.h"

namespace espalier::recipe {

// Takes the options' keys from the map. The caller finishes the map. Error(input) with
// file:line:column, what was expected, and the nearest name of a choice.
void read_options(YamlMap& map, const options::List& list);
// The same of a whole file, which may hold no other keys.
void read_options_file(const std::string& path, const options::List& list);

// The keys of a map, for checks of what one option makes of another.
class GivenKeys : public options::Given {
 public:
  explicit GivenKeys(const YamlMap& map) : map_(map) {}
  bool has(const std::string& name) const override { return map_.has(name); }
  std::string spelled(const std::string& name) const override { return "'" + name + "'"; }
  [[noreturn]] void refuse(const std::string& name, const std::string& reason) const override {
    map_.refuse(name, reason);
  }

 private:
  const YamlMap& map_;
};

}  // namespace espalier::recipe
