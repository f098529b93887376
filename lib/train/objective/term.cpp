// SPDX-License-Identifier: Apache-2.0
// The list of terms and their options.
#include "objective/term.h"

#include "core/error.h"
#include "core/units.h"

namespace espalier::objective {

#define ESP_TERM(name) extern const Term k_##name;
#include "objective/terms.inc"
#undef ESP_TERM

namespace {
const Term* const kTerms[] = {
#define ESP_TERM(name) &k_##name,
#include "objective/terms.inc"
#undef ESP_TERM
};
}  // namespace

std::span<const Term* const> all_terms() { return kTerms; }

std::vector<std::string> term_names() {
  std::vector<std::string> names;
  for (const Term* term : kTerms) names.emplace_back(term->name);
  return names;
}

std::vector<std::string> divergence_names() {
  std::vector<std::string> names;
  for (const Term* term : kTerms)
    if (term->reads == Reads::logits) names.emplace_back(term->name);
  return names;
}

const Term& term_by_name(std::string_view name) {
  const std::vector<std::string> names = term_names();
  for (const Term* term : kTerms)
    if (term->name == name) return *term;
  std::string known;
  for (const std::string& n : names) known += (known.empty() ? "" : ", ") + n;
  const std::string near = core::nearest_name(std::string(name), names.data(), names.size());
  core::fail(core::ErrorKind::usage, "unknown term '", name, "'",
             near.empty() ? "" : "; did you mean '" + near + "'?", " (known: ", known, ")");
}

double TermOptions::number(const std::string& name) const {
  const auto found = numbers.find(name);
  ESP_CHECK(found != numbers.end(), internal, "no term has described the option '", name, "'");
  return found->second;
}
const std::vector<std::string>& TermOptions::list(const std::string& name) const {
  const auto found = lists.find(name);
  ESP_CHECK(found != lists.end(), internal, "no term has described the option '", name, "'");
  return found->second;
}

options::List describe(TermOptions& values) {
  options::List out;
  for (const Term* term : kTerms) {
    if (term->describe == nullptr) continue;
    options::List of_term;
    of_term.begin_group("of terms");
    term->describe(values, of_term);
    for (const options::Option& option : of_term) {
      if (out.find(option.name) != nullptr) continue;  // shared with an earlier term
      out.add(option.name, option.value, option.help) = option;
    }
  }
  return out;
}

TermOptions default_options() {
  TermOptions values;
  describe(values);
  return values;
}

}  // namespace espalier::objective
