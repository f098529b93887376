// SPDX-License-Identifier: Apache-2.0
// Writes and reads run.json, and holds run.lock.
#include "recipe/run_record.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <ctime>
#include <filesystem>

#include "checkpoint/manifest.h"
#include "core/error.h"
#include "core/file.h"
#include "core/output.h"

namespace espalier::recipe {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

std::string now() {
  const std::time_t seconds = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&seconds, &parts);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

std::string host_name() {
  char name[256] = {};
  return gethostname(name, sizeof name - 1) == 0 ? name : "unknown";
}

std::string text_of(const Json& about, const char* key) {
  const auto it = about.find(key);
  if (it == about.end() || it->is_null()) return "unknown";
  return it->is_string() ? it->get<std::string>() : it->dump();
}

// Null when there is none, or when it is broken: it is written anew by every run.
Json read(const std::string& out) {
  std::error_code unreadable;
  if (!fs::exists(out + "/run.json", unreadable)) return nullptr;
  return Json::parse(core::read_text_file(out + "/run.json"), nullptr, false);
}

}  // namespace

RunRecord::RunRecord(const Recipe& recipe, const std::string& out)
    : out_(out), lock_(::open((out + "/run.lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644)) {
  ESP_CHECK(lock_ >= 0, input, out, "/run.lock: cannot write: ", std::strerror(errno));
  if (::flock(lock_, LOCK_EX | LOCK_NB) != 0) {
    const bool taken = errno == EWOULDBLOCK;
    const Json other = read(out);
    ::close(lock_);
    // File systems without locks let every run pass.
    ESP_CHECK(!taken, input, out, ": a run works here already: process ", text_of(other, "process"),
              " on ", text_of(other, "host"), " since ", text_of(other, "since"),
              "; wait for it, or choose another --out");
    lock_ = -1;
  }
  about_ = {{"recipe", recipe.path}, {"tool_version", checkpoint::tool_version()},
            {"process", ::getpid()}, {"host", host_name()},
            {"since", now()},        {"stages", Json::array()},
            {"stage", nullptr},      {"ended", nullptr}};
  for (const Step& step : recipe.stages)
    about_["stages"].push_back({{"name", step.name}, {"kind", step.kind->name}});
  write();
}

RunRecord::~RunRecord() {
  if (lock_ >= 0) ::close(lock_);
}

void RunRecord::write() const { core::write_text_file(out_ + "/run.json", about_.dump(1) + "\n"); }

void RunRecord::at(const std::string& stage) {
  about_["stage"] = stage;
  write();
}

void RunRecord::end() {
  about_["stage"] = nullptr;
  about_["ended"] = now();
  write();
}

Json run_status(const std::string& out) {
  const Json about = read(out);
  ESP_CHECK(about.is_object() && about.contains("stages") && about["stages"].is_array(), input, out,
            ": no run was here; expected the --out of an 'espalier run'");
  const int lock = ::open((out + "/run.lock").c_str(), O_RDONLY | O_CLOEXEC);
  const bool running = lock >= 0 && ::flock(lock, LOCK_SH | LOCK_NB) != 0;
  if (lock >= 0) ::close(lock);
  const bool ended = about.contains("ended") && about["ended"].is_string();
  Json status{{"output", out},
              {"recipe", text_of(about, "recipe")},
              {"state", running ? "running"
                        : ended ? "finished"
                                : "stopped"}};
  for (const char* key : {"process", "host", "since", "ended"})
    status[key] = about.contains(key) ? about[key] : Json(nullptr);
  status["stages"] = Json::array();
  for (const Json& stage : about["stages"]) {
    const std::string name = text_of(stage, "name"), directory = out + "/stages/" + name;
    Json line{{"name", name}, {"kind", text_of(stage, "kind")}};
    if (text_of(about, "stage") == name && !ended) {
      line["state"] = running ? "running" : "stopped";
    } else if (checkpoint::has_manifest(directory)) {
      line["state"] = "done";
      const checkpoint::Manifest manifest = checkpoint::read_manifest(directory);
      if (manifest.metrics.contains("seconds")) line["seconds"] = manifest.metrics["seconds"];
    } else {
      line["state"] = "waiting";
    }
    status["stages"].push_back(std::move(line));
  }
  return status;
}

}  // namespace espalier::recipe
