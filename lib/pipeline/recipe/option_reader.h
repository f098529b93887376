// SPDX-License-Identifier: Apache-2.0
// Described options from YAML: the keys of a stage, or of a whole file.
#pragma once
#include <set>
#include <string>

#include "core/error.h"
#include "options/given.h"
#include "options/option.h"
#include "recipe/yaml_reader.h"

namespace espalier::recipe {

// What `read` refuses is told with the place of the key.
template <typename Read>
void at_key(const YamlMap& map, const std::string& key, Read&& read) {
  try {
    read();
  } catch (const core::Error& e) {
    map.refuse(key, e.what());
  }
}

// Takes the options' keys from the map. The caller finishes the map. Error(input) with
// file:line:column, what was expected, and the nearest name of a choice.
void read_options(YamlMap& map, const options::List& list);
// The same of a whole file, which may hold no other keys. Returns the names of those it has.
std::set<std::string> read_options_file(const std::string& path, const options::List& list);
// A file that holds the items of one map, such as gates (configs/gates/).
void read_map_file(const std::string& path, const options::Option& option);

// The keys of a map, for checks of what one option makes of another.
class GivenKeys : public options::Given {
 public:
  // `list`: the options, which may have older names.
  GivenKeys(const YamlMap& map, const options::List& list) : map_(map), list_(list) {}
  bool has(const std::string& name) const override { return map_.has(written(name)); }
  std::string spelled(const std::string& name) const override { return "'" + written(name) + "'"; }
  [[noreturn]] void refuse(const std::string& name, const std::string& reason) const override {
    map_.refuse(written(name), reason);
  }
  void unused(const std::string& cause, std::initializer_list<const char*> names,
              const std::string& advice) const override;

 private:
  // The name by which the map has the option.
  std::string written(const std::string& name) const {
    const options::Option* option = list_.find(name);
    const bool older = option != nullptr && !option->older.empty() && map_.has(option->older);
    return older ? option->older : name;
  }
  const YamlMap& map_;
  const options::List& list_;
};

}  // namespace espalier::recipe
