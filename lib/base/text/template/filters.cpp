// SPDX-License-Identifier: Apache-2.0
// Finds filters by name.
#include <algorithm>

#include "text/template/builtins.h"

namespace espalier::text::jinja {
namespace {

// jinja2 has them, and no chat template known to us uses them.
constexpr std::string_view kLeftOut[] = {"filesizeformat", "groupby",   "pprint",   "random",
                                         "slice",          "striptags", "truncate", "urlencode",
                                         "urlize",         "wordwrap",  "xmlattr"};

const Filter* find_filter(std::string_view name) {
  for (const std::span<const Filter> table : {text_filters(), sequence_filters(), select_filters()})
    for (const Filter& filter : table)
      if (name == filter.name) return &filter;
  return nullptr;
}

}  // namespace

bool is_filter(std::string_view name) {
  return find_filter(name) != nullptr ||
         std::find(std::begin(kLeftOut), std::end(kLeftOut), name) != std::end(kLeftOut);
}

Value apply_filter(Interpreter& run, const std::string& name, const Value& value,
                   const Arguments& arguments) {
  if (const Filter* filter = find_filter(name)) return filter->apply(run, value, arguments);
  if (is_filter(name)) throw Fault("the filter '" + name + "' is not supported");
  throw Fault("there is no filter named '" + name + "'");
}

}  // namespace espalier::text::jinja
