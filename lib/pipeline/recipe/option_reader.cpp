// SPDX-License-Identifier: Apache-2.0
// Reads described options from YAML.
#include "recipe/option_reader.h"

#include "core/error.h"
#include "core/notes.h"
#include "options/pattern.h"

namespace espalier::recipe {
namespace {

void read_items(YamlMap& items, const options::Option& option) {
  // Known keys are asked for one by one, so that a misspelt one is refused with its neighbour.
  std::vector<std::string> keys = option.choices.empty() ? items.keys() : option.choices;
  if (!option.choices.empty())
    for (const std::string& key : items.keys())
      if (options::is_like_any(option.choices, key)) keys.push_back(key);
  for (const std::string& key : keys)
    if (const auto text = items.text(key))
      at_key(items, key, [&] { options::read_item(option, key, *text); });
  items.finish();
}

// A key by its older name. Error(input) when both are there.
options::Option renamed(YamlMap& map, const options::Option& option) {
  options::Option out = option;
  if (option.older.empty() || !map.text(option.older)) return out;
  if (map.has(option.name))
    map.refuse(option.older, "is the older name of '" + option.name + "'; leave one of them out");
  out.name = option.older;
  return out;
}

void read_option(YamlMap& map, const options::Option& described) {
  const options::Option option = renamed(map, described);
  if (options::is_map(option)) {
    if (auto items = map.map(option.name)) read_items(*items, option);
    return;
  }
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

void GivenKeys::unused(const std::string& cause, std::initializer_list<const char*> names,
                       const std::string& advice) const {
  for (const char* name : names)
    if (has(name))
      core::note(map_.where(written(name)) + ": " + written(name) + ": no effect " + cause + "; " +
                 advice);
}

std::set<std::string> read_options_file(const std::string& path, const options::List& list) {
  YamlMap map = YamlMap::load(path);
  read_options(map, list);
  map.finish();
  const GivenKeys given(map, list);
  std::set<std::string> names;
  for (const options::Option& option : list)
    if (given.has(option.name)) names.insert(option.name);
  return names;
}

void read_map_file(const std::string& path, const options::Option& option) {
  YamlMap items = YamlMap::load(path);
  read_items(items, option);
}

}  // namespace espalier::recipe
