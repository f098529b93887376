// SPDX-License-Identifier: Apache-2.0
// Progress for programs: a file to which each run appends lines of JSON (docs/progress.md).
//
// A line is written by one call, so that lines of several writers do not mix and a killed run
// leaves whole ones. When the file cannot be written, that is said once and the run goes on.
#pragma once
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "progress_stage.h"

namespace espalier::tool {

class ProgressFile {
 public:
  // Error(usage) for a file that has other content than such lines. `complain` is told, once, why
  // the file cannot be written.
  ProgressFile(const std::string& path, std::function<void(const std::string&)> complain);
  ~ProgressFile();
  ProgressFile(const ProgressFile&) = delete;
  ProgressFile& operator=(const ProgressFile&) = delete;

  void begin(const std::string& program, const std::vector<std::string>& arguments);
  // Of a stage at most a line a second, the first one and the last one.
  void add(const StageReport& report, double now);
  void end(int exit_code, double now);

 private:
  void write(const std::string& line);
  void give_up(int code);

  std::string path_;
  std::function<void(const std::string&)> complain_;
  int fd_ = -1;
  std::map<std::string, double> written_;  // when, by stage
};

}  // namespace espalier::tool
