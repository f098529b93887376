// SPDX-License-Identifier: Apache-2.0
// Keeps a second process from writing where one is at work. The lock is a file that the system
// unlocks when its process ends, however it ends, so a dead process holds none. The file says who
// has it. Where no lock can be made, every process passes.
#pragma once
#include <string>

namespace espalier::core {

std::string utc_now();    // "2026-01-31T12:00:00Z"
std::string host_name();  // "unknown" where the system does not say

class PathLock {
 public:
  enum class After { keep, remove };  // what becomes of the file in the end

  // Error(input) naming `what`, and process, host and time of who has the lock. A file that is to
  // stay has to be writable.
  PathLock(const std::string& path, const std::string& what, After after);
  ~PathLock();
  PathLock(const PathLock&) = delete;
  PathLock& operator=(const PathLock&) = delete;

 private:
  bool take(const std::string& what);

  std::string path_;
  After after_;
  int fd_ = -1;
};

// The lock of an output, beside it.
std::string lock_of_output(const std::string& out);

}  // namespace espalier::core
