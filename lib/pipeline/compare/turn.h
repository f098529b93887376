// SPDX-License-Identifier: Apache-2.0
// Shards that work in one folder take turns: the second waits until the first has ended, however it
// ends, and then finds what that one has made. Where no lock can be made, every process passes.
// Internal to lib/pipeline/compare.
#pragma once
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <string>

namespace espalier::compare {

class Turn {
 public:
  explicit Turn(const std::string& path)
      : file_(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644)) {
    if (file_ >= 0) static_cast<void>(::flock(file_, LOCK_EX));
  }
  ~Turn() {
    if (file_ >= 0) ::close(file_);
  }
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;

 private:
  int file_;
};

}  // namespace espalier::compare
