// SPDX-License-Identifier: Apache-2.0
// "Give me a file of N bytes": one format per tensor, chosen so that the summed output error is
// least within the budget. The error of (tensor, format) is measured by rounding the tensor
// (nearest, activation-weighted when an imatrix is given) and weighing the difference with the
// inputs' second moments, relative to the tensor's output energy. A branch is one of 2 * layers
// that add up to what reaches the output matrix, so with an imatrix an error of that matrix counts
// 2 * layers times as much.
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

namespace espalier::exporter {

struct BudgetOptions {
  std::int64_t target_bytes = 0;
  bool whole_file = true;  // header and tokenizer count too; else tensor data alone
  const quant::Imatrix* imatrix = nullptr;            // may be null: plain squared error
  std::map<std::string, format::FormatId> overrides;  // role or role.layer -> fixed format
  std::vector<format::FormatId> candidates;  // empty: all block formats that fit the tensor
  int threads = 0;
};
// The least bytes of tensor data, padding included, that any choice of formats gives: what a budget
// cannot go below.
std::int64_t smallest_data_bytes(const arch::Arch& arch, const arch::ModelDims& dims,
                                 const BudgetOptions& budget);
// Error(unsupported) naming the smallest reachable size when the budget is too small.
plan::QuantPlan plan_for_budget(const checkpoint::Checkpoint& source, const BudgetOptions& budget,
                                const ExportOptions& options, const core::Progress& progress);

}  // namespace espalier::exporter
