// SPDX-License-Identifier: Apache-2.0
// Chooses a format per tensor under a budget of bytes (knapsack.h).
#include "core/error.h"
#include "core/units.h"
#include "plan/knapsack.h"
#include "plan/quant_plan.h"

namespace espalier::plan {
namespace {

constexpr std::int64_t kAlignment = 32;  // alignment of tensors in a GGUF

std::int64_t padded(std::int64_t bytes) {
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

}  // namespace

QuantPlan allocate(const arch::Arch& arch, const arch::ModelDims& dims,
                   const std::vector<FormatChoice>& choices, std::int64_t budget_bytes) {
  const std::vector<arch::TensorRef> tensors = arch::tensors(arch, dims);
  std::map<std::pair<arch::Role, int>, const FormatChoice*> by_tensor;
  for (const FormatChoice& c : choices) {
    ESP_CHECK(c.formats.size() == c.error.size(), internal,
              "allocation of formats: ", arch::role_name(c.role), " has ", c.formats.size(),
              " formats and ", c.error.size(), " errors");
    ESP_CHECK(by_tensor.emplace(std::pair(c.role, c.layer), &c).second, internal,
              "allocation of formats: ", arch::gguf_name(c.role, c.layer), " is listed twice");
  }
  QuantPlan plan{.name = "mix", .tensors = {}};
  std::vector<CostsAndLosses> items;  // of the tensors whose formats are chosen, in order
  std::vector<std::size_t> chosen_for;
  std::vector<std::vector<format::FormatId>> formats;
  std::int64_t fixed = 0;
  for (std::size_t t = 0; t < tensors.size(); ++t) {
    const arch::TensorRef& tensor = tensors[t];
    plan.tensors.push_back({tensor.spec->role, tensor.layer, format::FormatId::f32});
    if (tensor.is_vector) {
      fixed += padded(tensor_bytes(tensor, format::FormatId::f32));
      continue;
    }
    const auto found = by_tensor.find({tensor.spec->role, tensor.layer});
    const std::string name = arch::gguf_name(tensor.spec->role, tensor.layer);
    ESP_CHECK(found != by_tensor.end(), internal, "allocation of formats: no choice for ", name);
    CostsAndLosses& item = items.emplace_back();
    std::vector<format::FormatId>& fitting = formats.emplace_back();
    chosen_for.push_back(t);
    for (std::size_t i = 0; i < found->second->formats.size(); ++i) {
      const format::FormatId f = found->second->formats[i];
      const double error = found->second->error[i];
      ESP_CHECK(error >= 0 && error < 1e300, input, "allocation of formats: the error of ", name,
                " in ", format::info(f).name, " is ", error);
      if (tensor.row_length() % format::info(f).block != 0) continue;
      fitting.push_back(f);
      item.costs.push_back(padded(tensor_bytes(tensor, f)));
      item.losses.push_back(error);
    }
    ESP_CHECK(!fitting.empty(), unsupported, "allocation of formats: none of the candidates for ",
              name, " fits its row length of ", tensor.row_length());
  }
  const std::int64_t smallest = smallest_cost(items);
  const std::int64_t budget = budget_bytes - fixed;
  ESP_CHECK(smallest <= budget, unsupported, "no choice of formats fits in ",
            core::human_bytes(budget_bytes), ": the tensors alone need ",
            core::human_bytes(smallest + fixed), " (", smallest + fixed,
            " bytes); prune further or allow smaller formats");

  const std::vector<std::size_t> chosen = least_loss_within(items, budget);
  for (std::size_t i = 0; i < items.size(); ++i)
    plan.tensors[chosen_for[i]].format = formats[i][chosen[i]];
  return plan;
}

}  // namespace espalier::plan
