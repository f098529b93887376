// SPDX-License-Identifier: Apache-2.0
// Standard error is a terminal when it says so and TERM names one that can move its cursor.
#include "progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <mutex>

#include "progress_file.h"
#include "progress_stage.h"
#include "progress_text.h"

namespace espalier::tool {
namespace {

bool is_terminal() {
  const char* term = std::getenv("TERM");
  return ::isatty(STDERR_FILENO) != 0 && term != nullptr && *term != '\0' &&
         std::string_view(term) != "dumb";
}

// Nobody reading, or a full disk, stops no work.
void write_error(std::string_view text) {
  while (!text.empty()) {
    const ssize_t n = ::write(STDERR_FILENO, text.data(), text.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return;
    text.remove_prefix(static_cast<std::size_t>(n));
  }
}

class Output {
 public:
  void take(const core::ProgressEvent& event, bool quiet) {
    const std::lock_guard lock(mutex_);
    const std::optional<StageReport> report = stages_.add(event, now());
    if (!report) return;
    if (!quiet) write_error(text_.show(*report, now(), columns()));
    if (file_) file_->add(*report, now());
  }
  void say(std::string_view line) {
    const std::lock_guard lock(mutex_);
    write_error(text_.clear(columns()) + std::string(line) + "\n");
  }
  void leave() {
    const std::lock_guard lock(mutex_);
    write_error(text_.leave());
  }
  void begin(const std::string& path, const std::string& program,
             const std::vector<std::string>& arguments) {
    const std::lock_guard lock(mutex_);
    file_ = std::make_unique<ProgressFile>(path, [this, program](const std::string& text) {
      write_error(text_.clear(columns()) + program.substr(0, program.find(' ')) +
                  ": note: " + text + "\n");
    });
    file_->begin(program, arguments);
  }
  void end(int exit_code) {
    const std::lock_guard lock(mutex_);
    if (file_) file_->end(exit_code, now());
    file_.reset();
  }
  bool has_file() {
    const std::lock_guard lock(mutex_);
    return file_ != nullptr;
  }

 private:
  using Clock = std::chrono::steady_clock;
  double now() const { return std::chrono::duration<double>(Clock::now() - began_).count(); }
  int columns() const {
    if (!terminal_) return 0;
    struct winsize size{};
    return ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
  }

  std::mutex mutex_;
  const Clock::time_point began_ = Clock::now();
  const bool terminal_ = is_terminal();
  Stages stages_{0};
  ProgressText text_;
  std::unique_ptr<ProgressFile> file_;
};

Output& output() {
  static Output all;
  return all;
}

}  // namespace

core::Progress progress(bool quiet) {
  if (quiet && !output().has_file()) return {};
  return [quiet](const core::ProgressEvent& event) { output().take(event, quiet); };
}

void say(std::string_view line) { output().say(line); }
void leave_progress() { output().leave(); }

void begin_progress_file(const std::string& path, const std::string& program,
                         const std::vector<std::string>& arguments) {
  output().begin(path, program, arguments);
}
void end_progress_file(int exit_code) { output().end(exit_code); }

}  // namespace espalier::tool
