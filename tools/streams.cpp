// SPDX-License-Identifier: Apache-2.0
// Writes results to standard output and ends the program where that cannot be done.
#include "streams.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>

#include "core/error.h"

namespace espalier::tool {
namespace {

bool pipe_signal_ignored = false;  // by the caller of the program

// Reading behind the new end of a mapped file. Only write() and _exit() may be called here.
void say_cut_file(int) {
  constexpr std::string_view kMessage =
      "a file became shorter while it was in use, or its disk failed; replace such files by moving "
      "others into their place\n";
  const ssize_t ignored = ::write(STDERR_FILENO, kMessage.data(), kMessage.size());
  static_cast<void>(ignored);
  ::_exit(static_cast<int>(core::ErrorKind::input));
}

[[noreturn]] void refuse(int code) {
  if (code == EPIPE && !pipe_signal_ignored) throw BrokenPipe{};
  core::fail(core::ErrorKind::input,
             "standard output: cannot write the result: ", std::strerror(code));
}

}  // namespace

bool prepare_streams() {
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO})
    if (::fcntl(fd, F_GETFD) < 0 && ::open("/dev/null", O_RDWR) != fd) return false;
  // A handler, unlike an ignored signal, is not passed on to programs that this one starts.
  struct sigaction before{}, handled{};
  handled.sa_handler = [](int) {};
  handled.sa_flags = SA_RESTART;
  ::sigaction(SIGPIPE, nullptr, &before);
  pipe_signal_ignored = before.sa_handler == SIG_IGN;
  if (!pipe_signal_ignored) ::sigaction(SIGPIPE, &handled, nullptr);
  handled.sa_handler = say_cut_file;
  ::sigaction(SIGBUS, &handled, nullptr);
  return true;
}

void write_result(std::string_view text) {
  while (!text.empty()) {
    const ssize_t n = ::write(STDOUT_FILENO, text.data(), text.size());
    if (n >= 0) {
      text.remove_prefix(static_cast<std::size_t>(n));
    } else if (errno == EAGAIN) {  // the caller made it non-blocking
      struct pollfd ready{.fd = STDOUT_FILENO, .events = POLLOUT, .revents = 0};
      ::poll(&ready, 1, -1);
    } else if (errno != EINTR) {
      refuse(errno);
    }
  }
}

void finish_results() {
  const int copy = ::dup(STDOUT_FILENO);
  if (copy >= 0 && ::close(copy) != 0 && errno != EINTR) refuse(errno);
}

void end_by_broken_pipe() {
  if (pipe_signal_ignored) return;
  std::signal(SIGPIPE, SIG_DFL);
  std::raise(SIGPIPE);
}

}  // namespace espalier::tool
