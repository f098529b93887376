// SPDX-License-Identifier: Apache-2.0
// checkpoint + QuantPlan -> GGUF that stock llama.cpp loads, tokenizer and chat template included.
// Planned bytes == file bytes. Tensors are read, rounded and written in pieces of rows, one at a
// time.
#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "core/progress.h"
#include "plan/quant_plan.h"
#include "quant/imatrix.h"
#include "quant/rounding.h"

namespace espalier::exporter {

struct ExportOptions {
  // imatrix and gptq need statistics for every block-format matrix but token_embd: a table that is
  // only looked up has no inputs to weigh, so without statistics of its own (a tied one has the
  // output's) it is rounded to nearest.
  quant::Rounding rounding = quant::Rounding::nearest;
  const quant::Imatrix* imatrix = nullptr;
  // When set, asked first for the bytes of every matrix, in file order: the matrix in the plan's
  // format, rows in the source's order.
  std::function<std::optional<std::vector<std::byte>>(arch::Role, int layer)> rounded;
  std::map<std::string, std::string>
      provenance;  // extra general.* / espalier.* string metadata (lineage hashes)
  int threads = 0;
};
struct ExportResult {
  std::int64_t file_bytes = 0, planned_bytes = 0;
  double bits_per_weight = 0;
  struct PerFormat {
    std::int64_t tensors = 0, parameters = 0;
  };
  std::map<std::string, PerFormat> formats;
};

// The whole file's size, header and padding included, before anything is rounded.
std::int64_t planned_file_bytes(const checkpoint::Checkpoint& source, const plan::QuantPlan& plan,
                                const ExportOptions& options);
// Refuses to write over any of the source's own files. Free disk is checked first.
ExportResult export_gguf(const checkpoint::Checkpoint& source, const plan::QuantPlan& plan,
                         const std::string& path, const ExportOptions& options,
                         const core::Progress& progress);

}  // namespace espalier::exporter
