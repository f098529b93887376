// SPDX-License-Identifier: Apache-2.0
// Options that terms describe in files of their own, and the names of all terms, without LibTorch.
#pragma once
#include <map>
#include <string>
#include <vector>

#include "options/option.h"

namespace espalier::objective {

// The values, by the names of the options. Terms may share an option.
struct TermOptions {
  std::map<std::string, double> numbers = {};
  std::map<std::string, std::vector<std::string>> lists = {};

  // Where the value lives that an Option points to. It begins as `value`.
  double* add_number(const std::string& name, double value) {
    return &numbers.emplace(name, value).first->second;
  }
  std::vector<std::string>* add_list(const std::string& name) { return &lists[name]; }
  // Error(internal) for one that no term has described.
  double number(const std::string& name) const;
  const std::vector<std::string>& list(const std::string& name) const;
};

// The options of all terms, each once.
options::List describe(TermOptions& values);
// All with their defaults.
TermOptions default_options();

std::vector<std::string> term_names();
// Of the terms that compare the distributions of student and teacher.
std::vector<std::string> divergence_names();

}  // namespace espalier::objective
