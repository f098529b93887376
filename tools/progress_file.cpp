// SPDX-License-Identifier: Apache-2.0
// Appends lines. Whatever a line tells has the same keys in every line of its kind.
#include "progress_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

#include "core/error.h"

namespace espalier::tool {
namespace {

using Json = nlohmann::ordered_json;

constexpr double kInterval = 1;  // seconds

// "2026-02-28T09:30:00.250Z"
std::string time_now() {
  using namespace std::chrono;
  const auto since = duration_cast<milliseconds>(system_clock::now().time_since_epoch()).count();
  const auto second = static_cast<std::time_t>(since / 1000);
  std::tm utc{};
  ::gmtime_r(&second, &utc);
  char day[32], out[48];
  std::strftime(day, sizeof day, "%Y-%m-%dT%H:%M:%S", &utc);
  std::snprintf(out, sizeof out, "%s.%03dZ", day, static_cast<int>(since % 1000));
  return out;
}

double thousandths(double value) { return std::round(value * 1000) / 1000; }

Json line_of(const char* event, double now) {
  return {{"time", time_now()}, {"seconds", thousandths(now)}, {"event", event}};
}

std::string text_of(const Json& line) {
  return line.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

constexpr std::string_view kBeginning = R"({"time":")";  // of every line

// What a regular file has at its beginning, and its last byte. Nothing of other files.
std::pair<std::string, char> ends_of(const std::string& path) {
  struct stat info{};
  std::pair<std::string, char> out{};
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return out;
  char begin[kBeginning.size()];
  if (::fstat(fd, &info) == 0 && S_ISREG(info.st_mode) && info.st_size > 0) {
    const ssize_t n = ::pread(fd, begin, sizeof begin, 0);
    if (n > 0 && ::pread(fd, &out.second, 1, info.st_size - 1) == 1)
      out.first.assign(begin, static_cast<std::size_t>(n));
  }
  ::close(fd);
  return out;
}

}  // namespace

ProgressFile::ProgressFile(const std::string& path,
                           std::function<void(const std::string&)> complain)
    : path_(path), complain_(std::move(complain)) {
  const auto [first, last] = ends_of(path);
  ESP_CHECK(first.empty() || first == kBeginning, usage, "--progress-file ", path,
            ": the file has other content than progress; name a new file");
  fd_ = ::open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
  if (fd_ < 0) give_up(errno);
  if (last != 0 && last != '\n') write("\n");  // of a run that a full disk has stopped
}

ProgressFile::~ProgressFile() {
  if (fd_ >= 0) ::close(fd_);
}

void ProgressFile::give_up(int code) {
  complain_("--progress-file " + path_ + ": cannot write progress: " + std::strerror(code) +
            "; the run goes on without it");
  if (fd_ >= 0) ::close(std::exchange(fd_, -1));
}

void ProgressFile::write(const std::string& line) {
  if (fd_ < 0) return;
  std::size_t done = 0;
  while (done < line.size()) {
    const ssize_t n = ::write(fd_, line.data() + done, line.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return give_up(n < 0 ? errno : ENOSPC);
    done += static_cast<std::size_t>(n);
  }
}

void ProgressFile::begin(const std::string& program, const std::vector<std::string>& arguments) {
  Json line = line_of("begin", 0);
  line["program"] = program;
  line["arguments"] = arguments;
  write(text_of(line));
}

void ProgressFile::add(const StageReport& report, double now) {
  Json line = line_of(report.counts ? "progress" : "notice", now);
  line["stage"] = report.event.stage;
  if (report.counts) {
    const auto [written, is_new] = written_.try_emplace(report.event.stage, now);
    if (!is_new && !report.first && !report.last && now - written->second < kInterval) return;
    written->second = now;
    const auto number = [](const std::optional<double>& value) {
      return value ? Json(thousandths(*value)) : Json(nullptr);
    };
    line["done"] = report.event.done;
    line["total"] = report.event.total;
    line["unit"] = report.event.unit;
    line["rate"] = number(report.rate);
    line["seconds_left"] = report.last ? Json(0.0) : number(report.seconds_left);
  }
  line["detail"] = report.event.detail;
  write(text_of(line));
}

void ProgressFile::end(int exit_code, double now) {
  Json line = line_of("end", now);
  line["exit_code"] = exit_code;
  write(text_of(line));
}

}  // namespace espalier::tool
