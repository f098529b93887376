// SPDX-License-Identifier: Apache-2.0
// A recipe: YAML with strict keys -> validated stages. It can be planned (predictions) and run (one
// directory per stage). A stage whose manifest matches is skipped.
#pragma once
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "core/progress.h"

namespace espalier::recipe {

struct RunOptions {
  std::string out;
  std::string bench_program;  // path of espalier-run
  int threads = 0;
  std::int64_t max_ram = 0;  // bytes; 0: no limit
  std::string until = {};    // the last stage to run; empty: all
  // Not empty: this stage and later ones are made again, and earlier ones must be finished.
  std::string from = {};
  // The same as for a plan: reports then show what was expected.
  double timing_seconds = 0;
  std::string reference_folder = {};  // for what evaluations of several runs share; empty: none
};
// Validates every stage and predicts parameters, bytes, peak memory and disk: {"stages": [{"name",
// "kind", "parameters", "bytes", "peak_memory_bytes", "disk_bytes", "seconds"}]}. Error(input) with
// file:line:column for a wrong key, and the nearest known key for an unknown one.
struct PlanOptions {
  // How long to measure at most how fast this machine works; 0: no times are predicted.
  double seconds = 0;
  int threads = 0;
};
nlohmann::ordered_json plan_recipe(const std::string& path, const PlanOptions& options = {});
// {"recipe", "output", "passed", "failures", "stages"}. A gate or parity that failed is a line of
// "failures", with its value and limit, and no error.
nlohmann::ordered_json run_recipe(const std::string& path, const RunOptions& options,
                                  const core::Progress& progress);

// Makes every stage of a finished run again, in a folder that is removed afterwards, and compares
// SHA-256 with the run's files: {"recipe", "output", "same", "stages": [{"name", "kind", "result":
// "same" | "differs" | "not compared", "there", "again"}]}. Cards and reports hold times, so they
// are not compared. Error(input) where a stage is not finished.
nlohmann::ordered_json check_recipe(const std::string& path, const RunOptions& options,
                                    const core::Progress& progress);

}  // namespace espalier::recipe
