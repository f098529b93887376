// SPDX-License-Identifier: Apache-2.0
// Names with a part that users choose. Among the choices of an option, NAME in a name such as
// "task.NAME.acc_min" stands for any text.
#pragma once
#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

namespace espalier::options {

inline bool is_like(std::string_view pattern, std::string_view text) {
  constexpr std::string_view kName = "NAME";
  const std::size_t at = pattern.find(kName);
  if (at == pattern.npos) return false;
  const std::string_view before = pattern.substr(0, at), behind = pattern.substr(at + kName.size());
  return text.size() > before.size() + behind.size() && text.starts_with(before) &&
         text.ends_with(behind);
}
inline bool is_like_any(const std::vector<std::string>& patterns, std::string_view text) {
  return std::any_of(patterns.begin(), patterns.end(),
                     [&](const std::string& pattern) { return is_like(pattern, text); });
}

}  // namespace espalier::options
