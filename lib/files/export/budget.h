// SPDX-License-Identifier: Apache-2.0
// Chooses formats for a file of a given size: one format per tensor, with the least summed output
// error within the budget.
//
// The error of (tensor, format) is measured by rounding the tensor (nearest, or activation-weighted
// with an imatrix). The second moments of the inputs weigh the difference. The error is relative to
// the tensor's output energy.
//
// 2 * layers branches add up to the input of the output matrix. So with an imatrix, an error of the
// output matrix counts 2 * layers times as much.
//
// Where it was measured what rounding each matrix does to the model, the errors of its formats are
// scaled so that the measured one is met. gptq leaves a part of it that differs from matrix to
// matrix, and is measured on the same rows.
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "core/progress.h"
#include "export/export_gguf.h"
#include "plan/quant_plan.h"
#include "quant/imatrix.h"
#include "quant/measured_errors.h"

namespace espalier::exporter {

struct BudgetOptions {
  std::int64_t target_bytes = 0;
  bool whole_file = true;                   // count header and tokenizer too, not only tensor data
  const quant::Imatrix* imatrix = nullptr;  // may be null: plain squared error
  const quant::MeasuredErrors* measured = nullptr;  // may be null
  // Role or role.layer -> fixed format. An override that no tensor has is refused
  // (plan::check_overrides).
  std::map<std::string, format::FormatId> overrides;
  // Empty: the block formats that fit the tensor, but those that are taken by name alone
  // (QuantFormat::in_budget).
  std::vector<format::FormatId> candidates;
  bool copies = true;  // a matrix in its own format is copied, which costs no error
  int threads = 0;
};
// The least bytes of tensor data, padding included, over all choices of formats. A budget cannot go
// below it.
std::int64_t smallest_data_bytes(const arch::Arch& arch, const arch::ModelDims& dims,
                                 const BudgetOptions& budget);
// The most that candidates can take, likewise. What a budget has above it stays unused.
std::int64_t largest_data_bytes(const arch::Arch& arch, const arch::ModelDims& dims,
                                const BudgetOptions& budget);
// Leaves a note when the budget is above what the candidates can take.
// Error(unsupported) naming the smallest reachable size when the budget is too small.
plan::QuantPlan plan_for_budget(const checkpoint::Checkpoint& source, const BudgetOptions& budget,
                                const ExportOptions& options, const core::Progress& progress);

}  // namespace espalier::exporter
