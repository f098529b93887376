// SPDX-License-Identifier: Apache-2.0
// Identity, threads, and the time that saving may take.
#include "checkpoint/work_folder.h"

#include <filesystem>
#include <nlohmann/json.hpp>
#include <vector>

#include "core/error.h"
#include "core/file.h"
#include "core/notes.h"

namespace espalier::checkpoint {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

constexpr const char* kOtherRun =
    ": was made with other options or inputs; choose another directory, or omit --resume to start "
    "over";
constexpr const char* kStarted = "started.json";

struct Started {
  std::string identity;
  int threads = 0;
};

// Empty: no run has started in the folder.
std::optional<Started> read_started(const std::string& folder) {
  const std::string path = folder + "/" + kStarted;
  if (folder.empty() || !fs::exists(path)) return std::nullopt;
  try {
    const Json json = Json::parse(core::read_text_file(path, 1 << 20));
    return Started{json.at("identity").get<std::string>(), json.at("threads").get<int>()};
  } catch (const Json::exception& error) {
    core::fail(core::ErrorKind::input, path, ": broken (", error.what(), "); remove ", folder,
               " to start over");
  }
}

}  // namespace

bool WorkFolder::started() const {
  const auto found = read_started(folder());
  return found && found->identity == identity_;
}

int WorkFolder::take_threads(int earlier) {
  ESP_CHECK(options_.threads == 0 || earlier == 0 || options_.threads == earlier, usage,
            "--threads ", options_.threads, ": the run in ", folder(), " was started with ",
            earlier, " threads, and another number would round differently; omit --threads");
  if (earlier > 0) options_.threads = earlier;
  return options_.threads;
}

int WorkFolder::begin() {
  const auto found = options_.resume ? read_started(folder()) : std::nullopt;
  ESP_CHECK(!found || found->identity == identity_, input, folder(), kOtherRun);
  if (!found) remove();
  return take_threads(found ? found->threads : 0);
}

void WorkFolder::start() {
  if (started()) return;
  std::error_code error;
  fs::create_directories(folder(), error);
  ESP_CHECK(!error, input, folder(), ": cannot create the directory: ", error.message());
  core::write_text_file(file(kStarted),
                        Json{{"identity", identity_}, {"threads", threads()}}.dump() + "\n");
}

bool WorkFolder::has(const std::string& name) const {
  std::error_code error;
  return !folder().empty() && fs::exists(file(name), error);
}

bool WorkFolder::due() const {
  if (folder().empty() || !save_error_.empty()) return false;
  return options_.share >= 1 || (Clock::now() - last_save_) * options_.share >= to_save_;
}

void WorkFolder::save(const std::function<void()>& write) {
  const auto begin = Clock::now();
  try {
    start();
    write();
  } catch (const core::Error& error) {
    save_error_ = std::string("the state to resume from could not be kept: ").append(error.what());
    core::note(save_error_);
    try {
      remove();
    } catch (const core::Error&) {  // the note is said already
    }
    return;
  }
  last_save_ = Clock::now();
  to_save_ = last_save_ - begin;
}

std::optional<Manifest> WorkFolder::finished(const std::string& directory,
                                             const std::string& stage) {
  if (!has_manifest(directory)) return std::nullopt;
  Manifest have = read_manifest(directory);
  ESP_CHECK(have.stage == stage && have.metrics.value("run", "") == identity_, input, directory,
            kOtherRun);
  take_threads(have.metrics.value("threads", 0));
  return have;
}

// The marker goes last, so that a removal that is interrupted can be repeated. Renamed before
// anything else goes, it starts no run.
void WorkFolder::remove(const std::string& folder) {
  std::error_code error;
  if (folder.empty() || !fs::is_directory(folder, error)) return;
  const auto is_marker = [](const fs::path& path) {
    return path.filename().string().starts_with(kStarted);
  };
  std::vector<fs::path> others;
  bool marked = false;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    marked = marked || is_marker(entry.path());
    if (!is_marker(entry.path())) others.push_back(entry.path());
  }
  ESP_CHECK(
      !error && (marked || others.empty()), input, folder,
      ": is no folder of an unfinished run, for it has no started.json; move it or remove it");
  const std::string started = folder + "/" + kStarted;
  if (fs::exists(started)) fs::rename(started, started + ".old", error);
  for (const fs::path& path : others)
    if (!error) fs::remove_all(path, error);
  if (!error) fs::remove_all(folder, error);
  ESP_CHECK(!error, input, folder, ": cannot remove what an earlier run left: ", error.message());
}

}  // namespace espalier::checkpoint
