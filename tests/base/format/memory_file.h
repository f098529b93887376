// SPDX-License-Identifier: Apache-2.0
// A file in memory that is opened by path (/proc/self/fd/N), for tests that read thousands of
// inputs. Linux only.
#pragma once
#include <sys/mman.h>
#include <unistd.h>

#include <stdexcept>
#include <string>
#include <string_view>

namespace espalier::support {

class MemoryFile {
 public:
  MemoryFile() : fd_(::memfd_create("input", MFD_CLOEXEC)) {
    if (fd_ < 0) throw std::runtime_error("memfd_create failed");
  }
  ~MemoryFile() { ::close(fd_); }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;

  std::string path() const { return "/proc/self/fd/" + std::to_string(fd_); }
  void assign(std::string_view content) {
    const bool whole =
        ::ftruncate(fd_, 0) == 0 &&
        ::pwrite(fd_, content.data(), content.size(), 0) == static_cast<ssize_t>(content.size());
    if (!whole) throw std::runtime_error("cannot write the file in memory");
  }

 private:
  int fd_;
};

}  // namespace espalier::support
