// SPDX-License-Identifier: Apache-2.0
// A recipe: YAML with strict keys -> validated stages -> plan (predictions) and run (directories,
// skipped when their manifest matches).
#pragma once
#include <nlohmann/json.hpp>
#include <string>

#include "core/progress.h"

namespace espalier::recipe {

struct RunOptions {
  std::string out;
  std::string bench_program;  // espalier-run
  int threads = 0;
};
// Validates every stage and predicts parameters, bytes, peak memory and disk: {"stages": [{"name",
// "kind", "parameters", "bytes", "peak_memory_bytes", "disk_bytes"}]}. Error(input) with
// file:line:column and the nearest known key for an unknown one.
nlohmann::ordered_json plan_recipe(const std::string& path);
nlohmann::ordered_json run_recipe(const std::string& path, const RunOptions& options,
                                  const core::Progress& progress);

}  // namespace espalier::recipe
