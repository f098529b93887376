// SPDX-License-Identifier: Apache-2.0
// Runs a command to its end. It ends with this process, whatever ends that.
#pragma once
#include <map>
#include <string>
#include <vector>

#include "core/progress.h"

namespace espalier::stages {

struct ChildProcess {
  std::vector<std::string> words;                  // the program first, looked up in PATH
  std::map<std::string, std::string> environment;  // beside that of this process
  std::string log;  // takes what it writes to both streams; appended to

  // Error(input) when it cannot start or ends otherwise than with 0: with its exit code or signal,
  // and the last lines of the log. `progress` is told the last line now and then.
  void run(const core::Progress& progress) const;
};

}  // namespace espalier::stages
