// SPDX-License-Identifier: Apache-2.0
// The list of losses.
#include "distill/loss.h"

#include <iterator>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/units.h"

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

const Loss& loss_by_name(std::string_view name) {
  std::vector<std::string> names;
  for (const Loss* loss : kLosses) {
    if (loss->name == name) return *loss;
    names.emplace_back(loss->name);
  }
  std::string known;
  for (const std::string& n : names) known += (known.empty() ? "" : ", ") + n;
  const std::string near = core::nearest_name(std::string(name), names.data(), names.size());
  core::fail(core::ErrorKind::usage, "unknown loss '", name, "'",
             near.empty() ? "" : "; did you mean '" + near + "'?", " (known: ", known, ")");
}

}  // namespace espalier::distill
