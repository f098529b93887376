// SPDX-License-Identifier: Apache-2.0
// Binding as Python does it: in order, then by name.
#include "text/template/arguments.h"

namespace espalier::text::jinja {

Bound::Bound(std::string_view function, const Arguments& arguments,
             std::initializer_list<const char*> names, std::size_t required)
    : function_(function), names_(names), found_(names.size(), nullptr) {
  if (arguments.positional.size() > names_.size())
    throw Fault(function_ + " takes at most " + std::to_string(names_.size()) + " arguments, not " +
                std::to_string(arguments.positional.size()));
  for (std::size_t i = 0; i < arguments.positional.size(); ++i)
    found_[i] = &arguments.positional[i];
  for (const auto& [name, value] : arguments.named) {
    std::size_t i = 0;
    while (i < names_.size() && name != names_[i]) ++i;
    if (i == names_.size()) throw Fault(function_ + " has no parameter '" + name + "'");
    if (found_[i] != nullptr) throw Fault(function_ + " is given '" + name + "' twice");
    found_[i] = &value;
  }
  for (std::size_t i = 0; i < required; ++i)
    if (found_[i] == nullptr) throw Fault(function_ + " needs '" + names_[i] + "'");
}

void Bound::wrong_type(std::size_t i, const char* expected) const {
  if (value(i).is(Kind::undefined)) throw Fault(value(i).why());
  throw Fault(function_ + ": '" + names_[i] + "' is a '" + type_name(value(i)) + "', expected a '" +
              expected + "'");
}

const std::string& Bound::text(std::size_t i) const {
  if (!value(i).is(Kind::text)) wrong_type(i, "str");
  return value(i).bytes();
}

std::int64_t Bound::whole(std::size_t i) const {
  if (!value(i).is_whole()) wrong_type(i, "int");
  return value(i).whole();
}

}  // namespace espalier::text::jinja
