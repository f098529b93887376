// SPDX-License-Identifier: Apache-2.0
// YamlMap on yaml-cpp: places, `use` files and typed values.
#include "recipe/yaml_reader.h"

#include <yaml-cpp/depthguard.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <map>
#include <set>

#include "core/error.h"
#include "core/file.h"
#include "core/units.h"

namespace espalier::recipe {
namespace {

constexpr std::uint64_t kMaxRecipeBytes = 1 << 20;
constexpr int kMaxDepth = 16;  // depth limit of maps
constexpr const char* kMerge = "<<";

struct Entry {
  YAML::Node value;
  std::string place;  // file:line:column of the key
};

std::string place_of(const std::string& file, const YAML::Mark& mark) {
  return mark.is_null()
             ? file
             : file + ":" + std::to_string(mark.line + 1) + ":" + std::to_string(mark.column + 1);
}

// yaml-cpp recurses on nesting. Since 0.7 it gives up at a depth that is harmless for any stack. A
// count of brackets here could not replace that limit: block sequences nest without brackets, and
// quotes and comments hide closing ones. Aliases share nodes, so they cannot make a small file
// huge.
YAML::Node parse(const std::string& file) {
  const std::string text = core::read_text_file(file, kMaxRecipeBytes);
  const auto zero = std::find(text.begin(), text.end(), '\0');
  ESP_CHECK(zero == text.end(), input, file, ":", 1 + std::count(text.begin(), zero, '\n'),
            ": a zero byte in a YAML file");
  try {
    const std::vector<YAML::Node> documents = YAML::LoadAll(text);
    for (std::size_t d = 1; d < documents.size(); ++d)  // an empty one says nothing
      ESP_CHECK(documents[d].IsNull(), input, place_of(file, documents[d].Mark()),
                ": a second document (---) begins before this line, and a file is one; remove it, "
                "or put it into a file of its own");
    return documents.empty() ? YAML::Node() : documents.front();
  } catch (const YAML::DeepRecursion& e) {
    core::fail(core::ErrorKind::input, place_of(file, e.mark), ": nested too deeply");
  } catch (const YAML::Exception& e) {
    core::fail(core::ErrorKind::input, place_of(file, e.mark), ": ", e.msg);
  }
}

}  // namespace

struct YamlMap::State {
  std::string file, place;
  std::map<std::string, Entry> entries;
  std::vector<std::string> order;
  std::set<std::string> asked;
  int depth = 0;

  void add(const YAML::Node& node) {
    std::set<std::string> seen;
    for (const auto& pair : node) {
      const std::string at = place_of(file, pair.first.Mark());
      ESP_CHECK(pair.first.IsScalar(), input, at, ": expected a key");
      const std::string key = pair.first.Scalar();
      ESP_CHECK(seen.insert(key).second, input, at, ": key '", key, "' appears twice");
      if (key == "use" || key == kMerge) continue;
      put(key, {pair.second, at});
    }
  }
  // An assignment to a node would change all nodes that share its value, such as those of an alias.
  void put(const std::string& key, const Entry& entry) {
    if (entries.erase(key) == 0) order.push_back(key);
    entries.emplace(key, entry);
  }
  void remove(const std::string& key) {
    if (entries.erase(key) != 0) std::erase(order, key);
  }
  static std::unique_ptr<State> make(const YAML::Node& node, const std::string& file,
                                     const std::string& place, int depth) {
    ESP_CHECK(depth <= kMaxDepth, input, place,
              ": 'use' goes in circles or maps are nested deeper than ", kMaxDepth);
    ESP_CHECK(node.IsMap(), input, place, ": expected a map (key: value)");
    auto state = std::make_unique<State>();
    state->file = file;
    state->place = place;
    state->depth = depth;
    if (const YAML::Node use = node["use"]) {
      ESP_CHECK(use.IsScalar(), input, place_of(file, use.Mark()), ": use: expected one file name");
      const std::string part = state->resolve(use.Scalar());
      std::error_code unreadable;
      ESP_CHECK(std::filesystem::exists(part, unreadable), input, place_of(file, use.Mark()),
                ": use: ", use.Scalar(), " does not exist; looked in ",
                std::filesystem::absolute(file, unreadable).parent_path().string(),
                ", each folder above it, and ", std::filesystem::current_path(unreadable).string(),
                "; the files under configs/ are in Espalier's sources: give the whole path");
      auto defaults = make(parse(part), part, part, depth + 1);
      state->entries = std::move(defaults->entries);
      state->order = std::move(defaults->order);
    }
    state->merge(node);
    state->add(node);
    return state;
  }
  // The keys of the maps that `<<` names, of which the first one has precedence.
  void merge(const YAML::Node& node) {
    const YAML::Node named = node[kMerge];
    if (!named) return;
    const std::string at = place_of(file, named.Mark());
    ESP_CHECK(named.IsMap() || named.IsSequence(), input, at,
              ": <<: expected an alias of a map, such as *base, or a list of them");
    std::vector<YAML::Node> maps;
    if (named.IsMap())
      maps.push_back(named);
    else
      for (const YAML::Node& one : named) maps.push_back(one);
    for (auto map = maps.rbegin(); map != maps.rend(); ++map) {
      const auto more = make(*map, file, at, depth + 1);
      for (const std::string& key : more->order) put(key, more->entries.at(key));
    }
  }
  // A path in a recipe is relative to the recipe, else to any folder above it, so that recipes/ and
  // configs/ find each other. Otherwise it is used as given.
  std::string resolve(const std::string& name) const {
    namespace fs = std::filesystem;
    const fs::path given(name);
    if (given.is_absolute()) return name;
    std::error_code unreadable;
    for (fs::path folder = fs::absolute(file, unreadable).parent_path();;
         folder = folder.parent_path()) {
      if (fs::exists(folder / given, unreadable))
        return (folder / given).lexically_normal().string();
      if (folder == folder.parent_path()) break;
    }
    return name;
  }
  const Entry* ask(const std::string& key) {
    asked.insert(key);
    const auto it = entries.find(key);
    if (it == entries.end()) return nullptr;
    // "key:" left to be filled in is YAML's null; taking it for an absent key would drop a line
    // that somebody wrote.
    const YAML::Node& value = it->second.value;
    ESP_CHECK(!value.IsNull() && !(value.IsScalar() && value.Scalar().empty()), input,
              it->second.place, ": ", key, ": has no value; give it one or remove the line");
    return &it->second;
  }
  std::optional<std::string> scalar(const std::string& key) {
    const Entry* e = ask(key);
    if (e == nullptr) return std::nullopt;
    ESP_CHECK(e->value.IsScalar(), input, e->place, ": ", key, ": expected one value");
    return e->value.Scalar();
  }
};

YamlMap::YamlMap(std::unique_ptr<State> state) : state_(std::move(state)) {}
YamlMap::~YamlMap() = default;
YamlMap::YamlMap(YamlMap&&) noexcept = default;
YamlMap& YamlMap::operator=(YamlMap&&) noexcept = default;

YamlMap YamlMap::load(const std::string& path) {
  return YamlMap(State::make(parse(path), path, path, 0));
}

bool YamlMap::has(const std::string& key) const { return state_->entries.contains(key); }
bool YamlMap::has_list(const std::string& key) const {
  const auto found = state_->entries.find(key);
  return found != state_->entries.end() && found->second.value.IsSequence();
}
std::optional<std::string> YamlMap::text(const std::string& key) { return state_->scalar(key); }
std::string YamlMap::required_text(const std::string& key) {
  const auto value = text(key);
  ESP_CHECK(value.has_value(), input, state_->place, ": '", key, "' is missing");
  return *value;
}
std::uint64_t parse_seed(const std::string& text) {
  std::uint64_t seed = 0;
  const char* const end = text.data() + text.size();
  const auto [read, error] = std::from_chars(text.data(), end, seed);
  ESP_CHECK(error == std::errc() && read == end && !text.empty(), usage,
            "expected a whole number from 0 to ", ~std::uint64_t{0}, ", not ", text);
  return seed;
}

std::optional<std::uint64_t> YamlMap::seed(const std::string& key) {
  const auto value = text(key);
  if (!value) return std::nullopt;
  try {
    return parse_seed(*value);
  } catch (const core::Error& e) {
    core::fail(core::ErrorKind::input, where(key), ": ", key, ": ", e.what());
  }
}
std::optional<std::int64_t> YamlMap::count(const std::string& key) {
  const auto value = text(key);
  if (!value) return std::nullopt;
  ESP_CHECK(!value->starts_with('-'), input, where(key), ": ", key,
            ": expected a number from 0 on, not ", *value);
  try {
    return core::parse_count(*value, key);
  } catch (const core::Error& e) {
    core::fail(core::ErrorKind::input, where(key), ": ", e.what());
  }
}
std::vector<std::string> YamlMap::texts(const std::string& key) {
  const Entry* e = state_->ask(key);
  std::vector<std::string> out;
  if (e == nullptr) return out;
  ESP_CHECK(e->value.IsSequence(), input, e->place, ": ", key, ": expected a list");
  for (const YAML::Node& item : e->value) {
    ESP_CHECK(item.IsScalar() && !item.Scalar().empty(), input, place_of(state_->file, item.Mark()),
              ": ", key, ": expected a list of names");
    out.push_back(item.Scalar());
  }
  return out;
}
std::optional<YamlMap> YamlMap::map(const std::string& key) {
  const Entry* e = state_->ask(key);
  if (e == nullptr) return std::nullopt;
  return YamlMap(State::make(e->value, state_->file, e->place, state_->depth + 1));
}
std::vector<YamlMap> YamlMap::maps(const std::string& key) {
  const Entry* e = state_->ask(key);
  std::vector<YamlMap> out;
  if (e == nullptr) return out;
  ESP_CHECK(e->value.IsSequence(), input, e->place, ": ", key, ": expected a list");
  for (const YAML::Node& item : e->value)
    out.push_back(YamlMap(
        State::make(item, state_->file, place_of(state_->file, item.Mark()), state_->depth + 1)));
  return out;
}
std::vector<std::string> YamlMap::keys() const { return state_->order; }
std::vector<std::string> YamlMap::known() const {
  return {state_->asked.begin(), state_->asked.end()};
}
std::string YamlMap::path_of(const std::string& key) {
  const auto name = text(key);
  return name ? state_->resolve(*name) : "";
}
std::string YamlMap::resolved(const std::string& name) const { return state_->resolve(name); }
YamlMap YamlMap::rest() const {
  YamlMap out(std::make_unique<State>(*state_));
  for (const std::string& key : state_->asked) out.state_->remove(key);
  return out;
}
YamlMap YamlMap::only(const std::set<std::string>& names) const {
  YamlMap out(std::make_unique<State>(*state_));
  for (const std::string& key : state_->order)
    if (!names.contains(key)) out.state_->remove(key);
  out.state_->asked.clear();
  return out;
}
void YamlMap::add(const YamlMap& other) {
  for (const std::string& key : other.state_->order)
    state_->put(key, other.state_->entries.at(key));
}
void YamlMap::add_defaults(const YamlMap& other) {
  for (const std::string& key : other.state_->order)
    if (!has(key)) state_->put(key, other.state_->entries.at(key));
}
void YamlMap::set(const std::string& key, const std::string& value) {
  state_->put(key, {YAML::Node(value), state_->place});
}
void YamlMap::set(const std::string& key, const std::vector<std::string>& values) {
  YAML::Node list(YAML::NodeType::Sequence);
  for (const std::string& value : values) list.push_back(value);
  state_->put(key, {list, where(key)});
}
void YamlMap::drop(const std::string& key) { state_->remove(key); }
void YamlMap::finish() const { allow_only(known()); }
void YamlMap::allow_only(const std::vector<std::string>& allowed) const {
  std::vector<std::string> names = allowed;
  names.emplace_back("use");  // taken in every map
  for (const std::string& key : state_->order) {
    if (std::find(allowed.begin(), allowed.end(), key) != allowed.end()) continue;
    const std::string nearest = core::nearest_name(key, names.data(), names.size());
    std::string list;
    for (const std::string& k : names) list += (list.empty() ? "" : ", ") + k;
    core::fail(core::ErrorKind::input, where(key), ": unknown key '", key, "'",
               nearest.empty() ? "" : "; did you mean '" + nearest + "'?", " (known here: ", list,
               ")");
  }
}
std::string YamlMap::where(const std::string& key) const {
  const auto it = state_->entries.find(key);
  return it == state_->entries.end() ? state_->place : it->second.place;
}
const std::string& YamlMap::file() const { return state_->file; }
void YamlMap::refuse(const std::string& key, const std::string& reason) const {
  core::fail(core::ErrorKind::input, where(key), ": ", key, ": ", reason);
}

}  // namespace espalier::recipe
