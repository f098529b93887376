// SPDX-License-Identifier: Apache-2.0
// fork, exec and wait, with both streams in a log.
#include "stages/child_process.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <fstream>
#include <thread>

#include "core/error.h"

namespace espalier::stages {
namespace {

constexpr int kCannotStart = 127;

std::vector<std::string> last_lines(const std::string& path, std::size_t n) {
  std::ifstream in(path);
  std::vector<std::string> lines;
  for (std::string line; std::getline(in, line);) {
    if (line.empty()) continue;
    if (lines.size() == n) lines.erase(lines.begin());
    lines.push_back(line);
  }
  return lines;
}

std::string tail(const std::string& path) {
  std::string out;
  for (const std::string& line : last_lines(path, 5)) out += "\n  " + line;
  return out;
}

// In the child: only calls that are safe between fork and exec.
[[noreturn]] void start(const std::vector<char*>& words, const std::vector<char*>& environment,
                        int log, pid_t parent) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(kCannotStart);
  ::setpgid(0, 0);
  ::dup2(log, STDOUT_FILENO);
  ::dup2(log, STDERR_FILENO);
  ::execvpe(words.front(), words.data(), environment.data());
  ::_exit(kCannotStart);
}

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> out;
  for (std::string& text : texts) out.push_back(text.data());
  out.push_back(nullptr);
  return out;
}

// The variables of this process, those of `more` in their place.
std::vector<std::string> merged(const std::map<std::string, std::string>& more) {
  std::vector<std::string> out;
  for (char** at = environ; *at != nullptr; ++at) {
    const std::string text = *at;
    if (!more.contains(text.substr(0, text.find('=')))) out.push_back(text);
  }
  for (const auto& [name, value] : more) out.push_back(name + "=" + value);
  return out;
}

// Kills what is left of the command when this scope is left, by its end or by an exception.
struct Group {
  pid_t id;
  ~Group() { ::kill(-id, SIGKILL); }
};

int wait_for(pid_t child, const std::string& log, const core::Progress& progress) {
  using Clock = std::chrono::steady_clock;
  auto told = Clock::now();
  int status = 0;
  for (;;) {
    const pid_t ended = ::waitpid(child, &status, WNOHANG);
    if (ended == child) return status;
    ESP_CHECK(ended == 0 || errno == EINTR, internal, "waitpid: ", std::strerror(errno));
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    if (progress && Clock::now() - told > std::chrono::seconds(10)) {
      told = Clock::now();
      const std::vector<std::string> last = last_lines(log, 1);
      if (!last.empty()) progress({"external", 0, 0, "", last.front()});
    }
  }
}

}  // namespace

void ChildProcess::run(const core::Progress& progress) const {
  const int out = ::open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  ESP_CHECK(out >= 0, input, log, ": cannot write: ", std::strerror(errno));
  std::vector<std::string> texts = words, variables = merged(environment);
  const std::vector<char*> argv = pointers(texts), envp = pointers(variables);
  const pid_t parent = ::getpid(), child = ::fork();
  if (child == 0) start(argv, envp, out, parent);
  ::close(out);
  ESP_CHECK(child > 0, input, words.front(), ": cannot start: ", std::strerror(errno));
  const Group group{child};
  const int status = wait_for(child, log, progress);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return;
  if (WIFSIGNALED(status))
    core::fail(core::ErrorKind::input, words.front(), ": ended by signal ", WTERMSIG(status),
               "; its output is in ", log, tail(log));
  core::fail(core::ErrorKind::input, words.front(), ": ended with ", WEXITSTATUS(status),
             WEXITSTATUS(status) == kCannotStart ? " (not found, perhaps)" : "",
             "; its output is in ", log, tail(log));
}

}  // namespace espalier::stages
