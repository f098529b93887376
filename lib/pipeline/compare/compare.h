// SPDX-License-Identifier: Apache-2.0
// `espalier compare`: schemes x sizes x seeds under one protocol. A cell is a small recipe: a
// scheme's stage, its evaluation on every text, and the same after a fixed distillation where that
// is asked for. It runs with the runner of recipes in a folder of its own, and is done when its
// cell.json matches what the comparison asks for.
//
//   DIR/cells/NAME/cell.json     numbers and losses by window of a finished cell
//   DIR/scores/NAME/             scores of the dense model, which cells share
//   DIR/rows.csv                 one line for each cell, stage and text; the same bytes every time
//   DIR/costs.csv                time, memory and speed, which differ from run to run
//   DIR/compare.md, compare.html
#pragma once
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "core/progress.h"

namespace espalier::compare {

struct CompareOptions {
  std::string out;
  std::string bench_program;  // path of espalier-run
  std::string command;        // as the page shows it
  int threads = 0;
  std::int64_t max_ram = 0;  // bytes; 0: no limit
  // Only every shards-th cell, beginning with number `shard` modulo `shards`. 0: all cells, and
  // then the tables.
  std::int64_t shard = 0, shards = 0;
};

// {"name", "output", "cells", "failed", "rows": [{"scheme", "ratio", "seed", "stage", "text",
// "parameters", "bytes", "perplexity", "perplexity_ratio", "ratio_low", "ratio_high", "kl_mean",
// "kl_low", "kl_high", "same_top1", "tokens", "windows", "standing", "error", "seconds",
// "peak_rss_bytes", "decode_tokens_per_second"}]}. A cell that fails is a row with its error.
// Error(input) with file:line:column for a wrong key, and for what no scheme can do.
nlohmann::ordered_json compare(const std::string& path, const CompareOptions& options,
                               const core::Progress& progress);

}  // namespace espalier::compare
