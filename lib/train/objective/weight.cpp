// SPDX-License-Identifier: Apache-2.0
// Reads weights from text.
#include "objective/weight.h"

#include "core/error.h"
#include "options/option.h"

namespace espalier::objective {
namespace {

double number(const std::string& text, const std::string& whole, const std::string& where) {
  double value = 0;
  try {
    value = options::parse_number(text);
  } catch (const core::Error&) {
    core::fail(core::ErrorKind::usage, where, ": '", whole,
               "' is no weight; expected a number such as 0.5, or two such as '1 to 0.1'");
  }
  ESP_CHECK(value >= 0 && value <= 1000, usage, where, ": ", value,
            " is no weight; expected 0 to 1000");
  return value;
}

}  // namespace

Weight parse_weight(const std::string& text, const std::string& where) {
  const std::string between = " to ";
  const std::size_t at = text.find(between);
  Weight out;
  out.first = number(text.substr(0, at), text, where);
  out.last =
      at == std::string::npos ? out.first : number(text.substr(at + between.size()), text, where);
  ESP_CHECK(!out.is_zero(), usage, where, ": with weight 0 the term has no effect; leave it out");
  return out;
}

}  // namespace espalier::objective
