// SPDX-License-Identifier: Apache-2.0
// A recipe: YAML with strict keys -> validated stages. It can be planned (predictions) and run (one
// directory per stage). A stage whose manifest matches is skipped.
#pragma once
#include <nlohmann/json.hpp>
#include <string>

#include "core/progress.h"

namespace espalier::recipe {

struct RunOptions {
  std::string out;
  std::string bench_program;  // path of espalier-run
  int threads = 0;
};
// Validates every stage and predicts parameters, bytes, peak memory and disk: {"stages": [{"name",
// "kind", "parameters", "bytes", "peak_memory_bytes", "disk_bytes"}]}. Error(input) with
// file:line:column for a wrong key, and the nearest known key for an unknown one.
nlohmann::ordered_json plan_recipe(const std::string& path);
// {"recipe", "output", "passed", "failures", "stages"}. A gate or parity that failed is a line of
// "failures", with its value and limit, and no error.
nlohmann::ordered_json run_recipe(const std::string& path, const RunOptions& options,
                                  const core::Progress& progress);

}  // namespace espalier::recipe
