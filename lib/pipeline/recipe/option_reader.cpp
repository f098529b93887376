// SPDX-License-Identifier: Apache-2.0
// Reads described options from YAML.
#include "recipe/option_reader.h"

#include "core/error.h"

namespace espalier::recipe {
namespace {

// What `read` refuses is told with the place of the key.
template <typename Read>
void at_key(const YamlMap& map, const std::string& key, Read&& read) {
  try {
    read();
  } catch (const core::Error& e) {
    map.refuse(key, e.what());
  }
}

void read_map(YamlMap& map, const options::Option& option) {
  auto items = map.map(option.name);
  if (!items) return;
  // Known keys are asked for one by one, so that a misspelt one is refused with its neighbour.
  const std::vector<std::string> keys = option.choices.empty() ? items->keys() : option.choices;
  for (const std::string& key : keys)
    if (const auto text = items->text(key))
      at_key(*items, key, [&] { options::read_item(option, key, *text); });
  items->finish();
}

void read_option(YamlMap& map, const options::Option& option) {
  if (options::is_map(option)) return read_map(map, option);
  if (options::is_list(option)) {
    for (const std::string& item : map.texts(option.name))
      at_key(map, option.name, [&] { options::read_item(option, item); });
    return;
  }
  if (option.unit == options::Unit::file) {
    if (const std::string path = map.path_of(option.name); !path.empty())
      options::read(option, path);
    return;
  }
  if (const auto text = map.text(option.name))
    at_key(map, option.name, [&] { options::read(option, *text); });
}

}  // namespace

void read_options(YamlMap& map, const options::List& list) {
  for (const options::Option& option : list) read_option(map, option);
}

void read_options_file(const std::string& path, const options::List& list) {
  YamlMap map = YamlMap::load(path);
  read_options(map, list);
  map.finish();
}

}  // namespace espalier::recipe
