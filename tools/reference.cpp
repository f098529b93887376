// SPDX-License-Identifier: Apache-2.0
// Prints the commands of a CLI11 program as Markdown.
#include "reference.h"

#include <map>
#include <sstream>
#include <vector>

#include "streams.h"

namespace espalier::tool {
namespace {

using Keys = std::vector<std::pair<std::string, std::string>>;

std::map<const CLI::App*, Keys>& json_keys() {
  static std::map<const CLI::App*, Keys> keys;
  return keys;
}

// "--sequence, --context" or "MODEL".
std::string names_of(const CLI::Option& option) {
  std::string out;
  for (const std::string& name : option.get_lnames())
    out += (out.empty() ? "`--" : ", `--") + name + "`";
  return out.empty() ? "`" + option.get_name(true) + "`" : out;
}

std::string default_of(const CLI::Option& option) {
  if (option.get_required()) return "required";
  const std::string text = option.get_default_str();
  if (text == "\"\"" || text == "[]") return "";
  return text;
}

std::string kind_of(const CLI::Option& option) {
  if (option.get_expected_max() == 0) return "";
  std::string type = option.get_type_name();
  const auto checks = type.find(':');  // CLI11 appends its validators
  return type.substr(0, checks);
}

void print_flags(std::ostream& out, const CLI::App& verb) {
  out << "| flag | value | default | what it is |\n|---|---|---|---|\n";
  for (const std::string& group : verb.get_groups())
    for (const CLI::Option* option :
         verb.get_options([&](const CLI::Option* o) { return o->get_group() == group; })) {
      if (group.empty() || option->check_name("--help")) continue;
      out << "| " << names_of(*option) << " | " << cell(kind_of(*option)) << " | "
          << cell(default_of(*option)) << " | " << cell(option->get_description()) << " |\n";
    }
}

void print_verb(std::ostream& out, const CLI::App& app, const CLI::App& verb) {
  out << "\n### " << app.get_name() << " " << verb.get_name() << "\n\n"
      << verb.get_description() << "\n\n";
  if (const std::string footer = verb.get_footer(); footer.starts_with("Example:\n"))
    out << "```\n" << footer.substr(footer.find_first_not_of(' ', 9)) << "\n```\n\n";
  print_flags(out, verb);
  const auto keys = json_keys().find(&verb);
  if (keys == json_keys().end()) return;
  out << "\n| key of `--json` | what it is |\n|---|---|\n";
  for (const auto& [key, meaning] : keys->second)
    out << "| `" << key << "` | " << cell(meaning) << " |\n";
}

std::string reference_of(const CLI::App& app) {
  std::ostringstream out;
  out << "## `" << app.get_name() << "`\n\n" << app.get_description() << "\n";
  for (const CLI::App* verb : app.get_subcommands({})) print_verb(out, app, *verb);
  return out.str();
}

}  // namespace

std::string cell(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '|') out += '\\';
    out += c == '\n' ? ' ' : c;
  }
  return out;
}

void describe_json(const CLI::App& verb, const std::string& key, const std::string& meaning) {
  json_keys()[&verb].emplace_back(key, meaning);
}
void describe_json(const CLI::App& verb,
                   std::initializer_list<std::pair<const char*, const char*>> keys) {
  for (const auto& [key, meaning] : keys) describe_json(verb, std::string(key), meaning);
}

void add_reference(CLI::App& app, const std::function<std::string()>& more) {
  app.add_flag_callback(
      "--reference",
      [&app, more] {
        write_result(reference_of(app) + (more ? more() : ""));
        throw CLI::Success();
      },
      "print all commands, flags and JSON keys as Markdown");
}

}  // namespace espalier::tool
