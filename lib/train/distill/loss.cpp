// SPDX-License-Identifier: Apache-2.0
// The list of losses.
#include "distill/loss.h"

#include <iterator>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/units.h"
#include "distill/loss_names.h"

namespace espalier::distill {

#define ESP_LOSS(name) extern const Loss k_##name;
#include "distill/losses.inc"
#undef ESP_LOSS

namespace {
const Loss* const kLosses[] = {
#define ESP_LOSS(name) &k_##name,
#include "distill/losses.inc"
#undef ESP_LOSS
};
}  // namespace

std::span<const Loss* const> all_losses() { return kLosses; }

std::vector<std::string> loss_names() {
  std::vector<std::string> names;
  for (const Loss* loss : kLosses) names.emplace_back(loss->name);
  return names;
}

const Loss& loss_by_name(std::string_view name) {
  const std::vector<std::string> names = loss_names();
  for (const Loss* loss : kLosses)
    if (loss->name == name) return *loss;
  std::string known;
  for (const std::string& n : names) known += (known.empty() ? "" : ", ") + n;
  const std::string near = core::nearest_name(std::string(name), names.data(), names.size());
  core::fail(core::ErrorKind::usage, "unknown loss '", name, "'",
             near.empty() ? "" : "; did you mean '" + near + "'?", " (known: ", known, ")");
}

}  // namespace espalier::distill
