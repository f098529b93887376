// SPDX-License-Identifier: Apache-2.0
// Starts espalier-run bench and reads its result.
#include "verify/child_bench.h"

#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "core/error.h"
#include "format/json_input.h"

extern char** environ;

namespace espalier::verify {

nlohmann::ordered_json child_bench(const std::string& program, const std::string& gguf,
                                   int threads) {
  // bench refuses more tokens than the model has positions for
  const std::int64_t positions = checkpoint::Checkpoint::open(gguf).dims().positions;
  int out[2];
  ESP_CHECK(::pipe(out) == 0, internal, "cannot make a pipe");
  std::vector<std::string> words{program,
                                 "bench",
                                 gguf.starts_with("-") ? "./" + gguf : gguf,  // is no flag
                                 "--json",
                                 "--quiet",
                                 "--prompt",
                                 std::to_string(std::min<std::int64_t>(512, positions)),
                                 "--generate",
                                 std::to_string(std::min<std::int64_t>(128, positions)),
                                 "--threads",
                                 std::to_string(threads)};
  std::vector<char*> arguments;
  for (std::string& w : words) arguments.push_back(w.data());
  arguments.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO);
  posix_spawn_file_actions_addclose(&actions, out[0]);
  pid_t child = 0;
  const int error =
      ::posix_spawn(&child, program.c_str(), &actions, nullptr, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  ::close(out[1]);
  std::string text;
  char buffer[4096];
  for (ssize_t n; error == 0 &&
                  ((n = ::read(out[0], buffer, sizeof buffer)) > 0 || (n < 0 && errno == EINTR));)
    if (n > 0) text.append(buffer, static_cast<std::size_t>(n));
  ::close(out[0]);
  ESP_CHECK(error == 0, internal, program, ": cannot start: ", std::strerror(error),
            "; espalier-run must lie beside espalier");
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  ESP_CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0, internal, program, " bench ", gguf,
            " failed; its message is above");
  return format::parse_json<nlohmann::ordered_json>(text, program + " bench --json");
}

std::string cpu_name() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);)
    if (line.rfind("model name", 0) == 0 && line.find(": ") != std::string::npos)
      return line.substr(line.find(": ") + 2);
  return "unknown";
}

}  // namespace espalier::verify
