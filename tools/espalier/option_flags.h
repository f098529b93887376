// SPDX-License-Identifier: Apache-2.0
// Described options as flags of a verb: --learning-rate for learning_rate, with defaults, ranges
// and groups in the help.
#pragma once
#include <CLI/CLI.hpp>
#include <set>
#include <string>

#include "options/given.h"
#include "options/option.h"

namespace espalier::tool {

// Adds one flag for each option. A map takes NAME=VALUE and a list one item, both repeatable.
void add_flags(CLI::App& verb, const options::List& list);
// Reads the flags that were given into the options. Error(usage) with verb and flag.
void read_flags(const CLI::App& verb, const options::List& list);
// The flag of an option or of an input, as the verb calls it: "--kv-groups", or "" where it has
// none.
std::string flag_for(const CLI::App& verb, const options::List& list, const std::string& name);

// The flags of a command line, for checks of what one option makes of another.
class GivenFlags : public options::Given {
 public:
  // `flags`: of inputs, by their keys.
  GivenFlags(const CLI::App& verb, const options::List& list,
             std::map<std::string, std::string> flags)
      : verb_(verb), list_(list), flags_(std::move(flags)) {}
  bool has(const std::string& name) const override;
  std::string spelled(const std::string& name) const override;
  [[noreturn]] void refuse(const std::string& name, const std::string& reason) const override;

 private:
  const CLI::App& verb_;
  const options::List& list_;
  std::map<std::string, std::string> flags_;
};

}  // namespace espalier::tool
