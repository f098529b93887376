// SPDX-License-Identifier: Apache-2.0
// What a run says about itself in its folder, so that another process can tell what it is doing.
//
//   run.lock  locked while a run works here (core/path_lock.h)
//   run.json  {"recipe", "tool_version", "process", "host", "since", "stages": [{"name", "kind"}],
//              "stage": the one at work, "ended": when, or null}
#pragma once
#include <nlohmann/json.hpp>
#include <string>

#include "core/path_lock.h"
#include "recipe/step.h"

namespace espalier::recipe {

class RunRecord {
 public:
  // Error(input) naming process, host and time of a run that works in `out` already.
  RunRecord(const Recipe& recipe, const std::string& out);
  void at(const std::string& stage);  // begins it
  void end();

 private:
  void write() const;

  std::string out_;
  core::PathLock lock_;
  nlohmann::ordered_json about_;
};

// {"output", "recipe", "state": "running" | "finished" | "stopped", "process", "host", "since",
//  "stages": [{"name", "kind", "state": "done" | "running" | "stopped" | "waiting", "seconds"}]}.
// "stopped": a run ended there before the stage was done, killed or with an error. Error(input)
// where no run was.
nlohmann::ordered_json run_status(const std::string& out);

}  // namespace espalier::recipe
