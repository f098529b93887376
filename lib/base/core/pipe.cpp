// SPDX-License-Identifier: Apache-2.0
// Copies what a pipe gives into a file without a name. Where the pipe has a number in this process,
// such as /dev/stdin or the /dev/fd/63 of a process substitution, the file takes over that number,
// so that the path stays as the user wrote it.
#include "core/pipe.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstring>
#include <string_view>
#include <vector>

#include "core/error.h"

namespace espalier::core {
namespace {

[[noreturn]] void fail_errno(const std::string& path, const char* doing) {
  fail(ErrorKind::input, path, ": cannot ", doing, ": ", std::strerror(errno));
}

// -1: the path names no descriptor of this process.
int descriptor_of(std::string_view path) {
  if (path == "/dev/stdin") return STDIN_FILENO;
  for (const std::string_view folder : {"/dev/fd/", "/proc/self/fd/"}) {
    if (!path.starts_with(folder)) continue;
    path.remove_prefix(folder.size());
    int number = -1;
    const auto [end, error] = std::from_chars(path.data(), path.data() + path.size(), number);
    return error == std::errc() && end == path.data() + path.size() ? number : -1;
  }
  return -1;
}

void copy(int from, int to, const std::string& path) {
  std::vector<char> buffer(std::size_t{1} << 20);
  while (true) {
    const ssize_t n = ::read(from, buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail_errno(path, "read");
    if (n == 0) return;
    for (ssize_t done = 0; done < n;) {
      const ssize_t written = ::write(to, buffer.data() + done, static_cast<std::size_t>(n - done));
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) fail_errno(path, "keep in memory");
      done += written;
    }
  }
}

}  // namespace

std::string readable_again(const std::string& path) {
  struct stat info{};
  if (path.empty() || ::stat(path.c_str(), &info) != 0 || S_ISREG(info.st_mode) ||
      S_ISDIR(info.st_mode) || S_ISBLK(info.st_mode))
    return path;
  const int number = descriptor_of(path);
  const int from = number >= 0 ? number : ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (from < 0) fail_errno(path, "open");
  const int kept = ::memfd_create("espalier-input", MFD_CLOEXEC);
  if (kept < 0) fail_errno(path, "keep in memory");
  copy(from, kept, path);
  if (number < 0) {
    ::close(from);
    return "/proc/self/fd/" + std::to_string(kept);
  }
  if (::dup2(kept, number) < 0) fail_errno(path, "keep in memory");
  ::close(kept);
  return path;
}

}  // namespace espalier::core
