// SPDX-License-Identifier: Apache-2.0
// Strict reading of YAML maps. Every key must be read. An unknown key is refused with
// file:line:column and the nearest known name. A key without a value (null, or an empty text) is
// refused and never taken for an absent key.
//
// A file is one document. The maps that `<<` names give defaults, and their keys are at the places
// where they are written.
//
// `use: FILE` in a map takes that file's keys as defaults. FILE is relative to the file that names
// it, or to its parent folders. There are no code paths and no interpolation. yaml-cpp stays behind
// this header.
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace espalier::recipe {

// A whole number below 2^64. Error(usage) for any other text.
std::uint64_t parse_seed(const std::string& text);

class YamlMap {
 public:
  static YamlMap load(const std::string& path);
  ~YamlMap();
  YamlMap(YamlMap&&) noexcept;
  YamlMap& operator=(YamlMap&&) noexcept;

  bool has(const std::string& key) const;
  bool has_list(const std::string& key) const;
  // Scalars. When the key is absent, the optional form returns nullopt and the required form
  // throws.
  std::optional<std::string> text(const std::string& key);
  std::string required_text(const std::string& key);
  std::optional<std::int64_t> count(const std::string& key);  // "92M", "1200"
  std::optional<std::uint64_t> seed(const std::string& key);  // parse_seed()
  std::vector<std::string> texts(const std::string& key);     // list of scalars; absent: empty
  std::optional<YamlMap> map(const std::string& key);
  std::vector<YamlMap> maps(const std::string& key);  // list of maps; absent: empty
  std::vector<std::string> keys() const;              // in file order
  std::vector<std::string> known() const;             // all keys read so far, by name
  // A file name, resolved relative to the recipe and returned relative to the working directory.
  std::string path_of(const std::string& key);
  // The same of any file name.
  std::string resolved(const std::string& name) const;

  // Maps that are put together from several, as one cell of a comparison is. Every key keeps the
  // place where it is written.
  YamlMap rest() const;  // the keys that were not read so far; the others are known there
  YamlMap only(const std::set<std::string>& names) const;
  void add(const YamlMap& other);           // its keys win
  void add_defaults(const YamlMap& other);  // the keys that are here win
  void set(const std::string& key, const std::string& value);
  void set(const std::string& key, const std::vector<std::string>& values);
  void drop(const std::string& key);

  // Throws for every key that was not read.
  void finish() const;
  // Throws for every key that is not among `names`, before any is read.
  void allow_only(const std::vector<std::string>& names) const;
  std::string where(const std::string& key = "") const;  // "recipe.yaml:12:5"
  const std::string& file() const;
  [[noreturn]] void refuse(const std::string& key, const std::string& reason) const;

 private:
  struct State;
  explicit YamlMap(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace espalier::recipe
