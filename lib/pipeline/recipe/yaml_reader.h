// SPDX-License-Identifier: Apache-2.0
// Strict reading of YAML maps: every key must be asked for, an unknown one is refused with
// file:line:column and the nearest known name. `use: FILE` in a map takes that file's keys as
// defaults (relative to the file that names it, or to its parents). No code paths, no
// interpolation. yaml-cpp stays behind this header.
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace espalier::recipe {

class YamlMap {
 public:
  static YamlMap load(const std::string& path);
  ~YamlMap();
  YamlMap(YamlMap&&) noexcept;
  YamlMap& operator=(YamlMap&&) noexcept;

  bool has(const std::string& key) const;
  // Scalars. The optional form returns nullopt when the key is absent; the required form is an
  // error then.
  std::optional<std::string> text(const std::string& key);
  std::string required_text(const std::string& key);
  std::optional<double> real(const std::string& key);
  std::optional<bool> boolean(const std::string& key);
  std::optional<std::int64_t> count(const std::string& key);  // "92M", "1200"
  std::optional<std::int64_t> bytes(const std::string& key);  // "60MB", "1.5GiB"
  std::vector<std::string> texts(const std::string& key);     // list of scalars; absent: empty
  std::optional<YamlMap> map(const std::string& key);
  std::vector<YamlMap> maps(const std::string& key);  // list of maps; absent: empty
  std::vector<std::string> keys() const;              // in file order
  std::string path_of(const std::string& key);        // a file name, made relative to the working
                                                      // directory by the place of the recipe

  // Throws for every key that nobody asked for.
  void finish() const;
  std::string where(const std::string& key = "") const;  // "recipe.yaml:12:5"
  const std::string& file() const;
  [[noreturn]] void refuse(const std::string& key, const std::string& reason) const;

 private:
  struct State;
  explicit YamlMap(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace espalier::recipe
