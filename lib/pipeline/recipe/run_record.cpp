// SPDX-License-Identifier: Apache-2.0
// Writes and reads run.json, and holds run.lock.
#include "recipe/run_record.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <filesystem>

#include "checkpoint/manifest.h"
#include "core/error.h"
#include "core/file.h"
#include "core/output.h"

namespace espalier::recipe {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

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
    : out_(out), lock_(out + "/run.lock", out, core::PathLock::After::keep) {
  about_ = {{"recipe", recipe.path},    {"tool_version", checkpoint::tool_version()},
            {"process", ::getpid()},    {"host", core::host_name()},
            {"since", core::utc_now()}, {"stages", Json::array()},
            {"stage", nullptr},         {"ended", nullptr}};
  for (const Step& step : recipe.stages)
    about_["stages"].push_back({{"name", step.name}, {"kind", step.kind->name}});
  write();
}

void RunRecord::write() const { core::write_text_file(out_ + "/run.json", about_.dump(1) + "\n"); }

void RunRecord::at(const std::string& stage) {
  about_["stage"] = stage;
  write();
}

void RunRecord::end() {
  about_["stage"] = nullptr;
  about_["ended"] = core::utc_now();
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
