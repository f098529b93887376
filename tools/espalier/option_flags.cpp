// SPDX-License-Identifier: Apache-2.0
// Flags from described options.
#include "option_flags.h"

#include <algorithm>

#include "core/error.h"

namespace espalier::tool {
namespace {

std::string long_names(const options::Option& option) {
  std::string names = option.flag.empty() ? options::flag_of(option).substr(2) : option.flag;
  if (!option.older.empty()) {
    std::string older = option.older;
    std::replace(older.begin(), older.end(), '_', '-');
    names += "," + older;
  }
  std::string out = "--";
  for (const char c : names) out += c == ',' ? std::string(",--") : std::string(1, c);
  return out;
}

std::string help_of(const options::Option& option) {
  std::string out = option.help;
  const std::string range = options::range_text(option);
  if (options::is_map(option)) {
    out += " (NAME=VALUE, repeatable)";
  } else if (!range.empty()) {
    out += " (" + range + ")";
  }
  if (!option.absent.empty() && options::value_text(option).empty())
    out += " [default: " + option.absent + "]";
  return out;
}

void read_text(const options::Option& option, const std::string& text) {
  if (!options::is_map(option)) return options::read(option, text);
  const auto at = text.find('=');
  ESP_CHECK(at != std::string::npos && at > 0, usage, "'", text,
            "': expected NAME=VALUE, such as token_embd=q8_0");
  options::read_item(option, text.substr(0, at), text.substr(at + 1));
}

bool is_switch(const options::Option& option) {
  bool* const* on = std::get_if<bool*>(&option.value);
  return on != nullptr && !**on;
}

void add_flag(CLI::App& verb, const options::Option& option) {
  const std::string names = long_names(option);
  if (is_switch(option)) {
    verb.add_flag(names)->description(help_of(option))->group(option.group);
    return;
  }
  CLI::Option* flag = verb.add_option(names, [](const CLI::results_t&) { return true; });
  flag->description(help_of(option))
      ->type_name(options::kind_text(option))
      ->group(option.group)
      ->default_str(options::value_text(option));
  if (options::is_list(option) || options::is_map(option))
    flag->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
}

}  // namespace

void add_flags(CLI::App& verb, const options::List& list) {
  for (const options::Option& option : list) add_flag(verb, option);
}

void read_flags(const CLI::App& verb, const options::List& list) {
  for (const options::Option& option : list) {
    const CLI::Option* flag = verb.get_option(options::flag_of(option));
    if (flag->count() == 0) continue;
    if (is_switch(option)) {
      *std::get<bool*>(option.value) = true;
      continue;
    }
    for (const std::string& text : flag->results()) {
      try {
        read_text(option, text);
      } catch (const core::Error& e) {
        core::fail(e.kind(), verb.get_name(), ": ", options::flag_of(option), ": ", e.what());
      }
    }
  }
}

std::string flag_for(const CLI::App& verb, const options::List& list, const std::string& name) {
  const options::Option* option = list.find(name);
  if (option != nullptr) return options::flag_of(*option);
  return verb.get_option_no_throw("--" + name) != nullptr ? "--" + name : "";
}

bool GivenFlags::has(const std::string& name) const {
  const auto input = flags_.find(name);
  const std::string flag = input != flags_.end() ? input->second : flag_for(verb_, list_, name);
  const CLI::Option* option = flag.empty() ? nullptr : verb_.get_option_no_throw(flag);
  return option != nullptr && option->count() > 0;
}

std::string GivenFlags::spelled(const std::string& name) const {
  const auto input = flags_.find(name);
  const std::string flag = input != flags_.end() ? input->second : flag_for(verb_, list_, name);
  return flag.empty() ? name : flag;
}

void GivenFlags::refuse(const std::string& name, const std::string& reason) const {
  core::fail(core::ErrorKind::usage, verb_.get_name(), ": ", spelled(name), ": ", reason);
}

}  // namespace espalier::tool
