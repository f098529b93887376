// SPDX-License-Identifier: Apache-2.0
// Finds flags in a message.
#include "recipe/key_names.h"

#include <map>
#include <string_view>

namespace espalier::recipe {
namespace {

bool is_name(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'; }

std::map<std::string, std::string, std::less<>> keys_by_flag(const Step& step) {
  std::map<std::string, std::string, std::less<>> out;
  const options::List list = step.stage->options();
  for (const options::Option& option : list) out[options::flag_of(option)] = option.name;
  for (const stages::Input& input : step.stage->inputs())
    if (input.flag.starts_with("--")) out[input.flag] = input.key;
  return out;
}

// Where a quoted command line that begins at `at` ends. `at`: none begins there.
std::size_t end_of_command(std::string_view message, std::size_t at) {
  for (const char* begin : {"`", "'espalier", "'quantize", "'generate"})
    if (message.substr(at).starts_with(begin)) {
      const std::size_t end = message.find(*begin, at + 1);
      return end == std::string_view::npos ? message.size() : end + 1;
    }
  return at;
}

}  // namespace

std::string with_key_names(const std::string& message, const Step& step) {
  const auto keys = keys_by_flag(step);
  std::string out;
  for (std::size_t i = 0; i < message.size();) {
    if (const std::size_t end = end_of_command(message, i); end > i) {
      out.append(message, i, end - i);
      i = end;
      continue;
    }
    std::size_t end = i;
    const bool begins = message.compare(i, 2, "--") == 0 && (i == 0 || !is_name(message[i - 1]));
    while (begins && end < message.size() && is_name(message[end])) ++end;
    const auto key = keys.find(std::string_view(message).substr(i, end - i));
    if (key == keys.end()) {
      out += message[i++];
      continue;
    }
    out += key->second;
    i = end;
  }
  return out;
}

}  // namespace espalier::recipe
