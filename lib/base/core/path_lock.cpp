// SPDX-License-Identifier: Apache-2.0
// flock() on a file. The last one who has it may remove it; who waited for a file that is gone
// looks for the new one.
#include "core/path_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <utility>

#include "core/error.h"

namespace espalier::core {
namespace {

namespace fs = std::filesystem;

std::string content_of(int fd) {
  char text[512];
  const ssize_t n = ::pread(fd, text, sizeof text, 0);
  std::string out(text, n > 0 ? static_cast<std::size_t>(n) : 0);
  while (out.ends_with('\n')) out.pop_back();
  return out;
}

// Whether the file that is open is still the one at `path`.
bool is_at(int fd, const std::string& path) {
  struct stat open{}, there{};
  return ::fstat(fd, &open) == 0 && ::stat(path.c_str(), &there) == 0 &&
         open.st_dev == there.st_dev && open.st_ino == there.st_ino;
}

}  // namespace

std::string utc_now() {
  const std::time_t seconds = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&seconds, &parts);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

std::string host_name() {
  char name[256] = {};
  return ::gethostname(name, sizeof name - 1) == 0 ? name : "unknown";
}

PathLock::PathLock(const std::string& path, const std::string& what, After after)
    : path_(path), after_(after) {
  while (!take(what)) {
  }
  if (fd_ < 0) return;
  const std::string about =
      "process " + std::to_string(::getpid()) + " on " + host_name() + " since " + utc_now() + "\n";
  if (::ftruncate(fd_, 0) != 0 ||
      ::pwrite(fd_, about.data(), about.size(), 0) != static_cast<ssize_t>(about.size()))
    ::close(std::exchange(fd_, -1));  // a full disk; the output will say so
}

// False: the file was removed meanwhile, so that another try is needed.
bool PathLock::take(const std::string& what) {
  fd_ = ::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  ESP_CHECK(fd_ >= 0 || after_ == After::remove, input, path_,
            ": cannot write: ", std::strerror(errno));
  if (fd_ < 0) return true;
  if (::flock(fd_, LOCK_EX | LOCK_NB) != 0) {
    const bool taken = errno == EWOULDBLOCK;
    const std::string other = content_of(fd_);
    ::close(fd_);
    fd_ = -1;
    ESP_CHECK(!taken, input, what,
              ": a run works here already: ", other.empty() ? "another process" : other,
              "; wait for it, or choose another --out");
    return true;
  }
  if (is_at(fd_, path_)) return true;
  ::close(fd_);
  return false;
}

PathLock::~PathLock() {
  if (fd_ < 0) return;
  if (after_ == After::remove) ::unlink(path_.c_str());
  ::close(fd_);
}

std::string lock_of_output(const std::string& out) {
  constexpr std::size_t kLongest = 240;  // a name of 255 bytes has room for the ending
  fs::path path(out);
  if (!path.has_filename()) path = path.parent_path();  // "out/"
  const std::string name = path.filename().string();
  const fs::path folder = path.parent_path();
  return (folder / ("." + name.substr(0, kLongest) + ".lock")).string();
}

}  // namespace espalier::core
