// SPDX-License-Identifier: Apache-2.0
// What a user may choose, described once. A struct of options has a function `describe` beside it
// that returns their List. From the list come the keys of a recipe, the flags of a verb and their
// help, the checks of ranges, the identity of a result, its manifest, and docs/reference.md.
#pragma once
#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace espalier::options {

// A choice that is stored as something else than its name.
struct Named {
  std::function<std::string()> get;
  std::function<void(const std::string&)> set;
};
using Value = std::variant<bool*, std::int64_t*, std::optional<std::int64_t>*, double*,
                           std::optional<double>*, std::string*, Named, std::vector<std::string>*,
                           std::map<std::string, std::string>*, std::map<std::string, double>*>;

// How a whole number is written ("92M" and "8k", or "60MB" too), or what a text names.
enum class Unit : std::uint8_t { none, bytes, file };

struct Option {
  std::string name;  // the key of a recipe, such as "learning_rate"; its flag is --learning-rate
  Value value;       // points into the struct, which holds the default
  std::string help;  // one phrase, in small letters, without a full stop
  std::string flag = {};    // where it is not the name with hyphens; "a,b": two flags
  std::string absent = {};  // what applies when an optional value or an empty text was not given
  std::string group = {};   // of the help and of the reference
  double least = -std::numeric_limits<double>::infinity(),
         most = std::numeric_limits<double>::infinity();
  bool above_least = false;  // `least` itself is not allowed
  // All that a text may be, or the keys of a map. Empty: anything.
  std::vector<std::string> choices = {};
  std::vector<std::string> values = {};  // all that the values of a map of texts may be
  std::string older = {};                // a name by which older recipes and scripts call it
  Unit unit = Unit::none;
  // False for what changes no byte of a result: limits of memory, how often to save.
  bool decides = true;

  Option& between(double low, double high) {
    least = low;
    most = high;
    return *this;
  }
  Option& at_least(double low) {
    least = low;
    return *this;
  }
  Option& above(double low) {
    least = low;
    above_least = true;
    return *this;
  }
  Option& one_of(std::vector<std::string> names) {
    choices = std::move(names);
    return *this;
  }
  Option& values_one_of(std::vector<std::string> names) {
    values = std::move(names);
    return *this;
  }
  Option& formerly(std::string former) {
    older = std::move(former);
    return *this;
  }
  Option& in_bytes() {
    unit = Unit::bytes;
    return *this;
  }
  Option& names_a_file() {
    unit = Unit::file;
    return *this;
  }
  Option& otherwise(std::string what) {
    absent = std::move(what);
    return *this;
  }
  Option& flagged(std::string flags) {
    flag = std::move(flags);
    return *this;
  }
  Option& decides_nothing() {
    decides = false;
    return *this;
  }
};

class List {
 public:
  // Adds an option. The reference is valid until the next one is added.
  Option& add(std::string name, Value value, std::string help) {
    options_.push_back({std::move(name), std::move(value), std::move(help), {}, {}, group_});
    return options_.back();
  }
  // An enumeration, by the names of its values.
  template <typename Enum>
  Option& add_choice(std::string name, Enum& value,
                     const std::vector<std::pair<std::string, Enum>>& names, std::string help) {
    Named named{[&value, names] {
                  for (const auto& [text, meant] : names)
                    if (meant == value) return text;
                  return std::string();
                },
                [&value, names](const std::string& given) {
                  for (const auto& [text, meant] : names)
                    if (text == given) value = meant;
                }};
    std::vector<std::string> texts;
    for (const auto& [text, meant] : names) texts.push_back(text);
    return add(std::move(name), std::move(named), std::move(help)).one_of(std::move(texts));
  }
  // The options added from here on belong to `group`.
  void begin_group(std::string group) { group_ = std::move(group); }
  void append(Option option) { options_.push_back(std::move(option)); }
  void append(const List& more) {
    options_.insert(options_.end(), more.options_.begin(), more.options_.end());
  }
  const Option* find(std::string_view name) const;
  const Option& at(std::string_view name) const;  // Error(internal) when there is none
  auto begin() const { return options_.begin(); }
  auto end() const { return options_.end(); }

 private:
  std::vector<Option> options_;
  std::string group_;
};

// "--learning-rate"; of two flags the first.
std::string flag_of(const Option& option);

// Reads `text` into the option and checks it. Error(usage) says what was expected and the nearest
// choice; who reads a file puts the place before it. Not for lists and maps.
void read(const Option& option, const std::string& text);
// The same for lists and maps, one item at a time. The map's keys are checked against `choices`.
void read_item(const Option& option, const std::string& item);
void read_item(const Option& option, const std::string& key, const std::string& text);
bool is_list(const Option& option);
bool is_map(const Option& option);
// Error(usage) unless the value lies in the option's range. `read` has checked already.
void check(const Option& option);
void check(const List& list);

// A real number as users write it: "0.5", "1e-4". Also what is no finite number; ranges refuse
// that. Error(usage) for any other text.
double parse_number(const std::string& text);
// Error(usage) with the nearest name, unless `text` is among `known`. Nothing known: anything is.
void require_known(const std::vector<std::string>& known, const std::string& text);

// "0 to 1", "at least 2", "prune, distill": what may be given. Empty: anything.
std::string range_text(const Option& option);
// The value as a user would write it. Empty: none, then `absent` says what applies.
std::string value_text(const Option& option);
// COUNT, SIZE, NUMBER, FILE, NAME, ...: what kind of text is expected.
std::string kind_text(const Option& option);

}  // namespace espalier::options
