// SPDX-License-Identifier: Apache-2.0
// Identity, threads, and the time that saving may take.
#include "checkpoint/work_folder.h"

#include <filesystem>
#include <nlohmann/json.hpp>
#include <vector>

#include "core/error.h"
#include "core/file.h"
#include "core/notes.h"
#include "core/output.h"

namespace espalier::checkpoint {
namespace {

namespace fs = std::filesystem;

constexpr const char* kOtherRun =
    ": was made with other options or inputs; choose another directory, or omit --resume to start "
    "over";
constexpr const char* kStarted = "started.json";

struct Started {
  std::string identity;
  int threads = 0;
};

[[noreturn]] void fail_broken(const std::string& folder, const std::exception& error) {
  core::fail(core::ErrorKind::input, folder, ": broken (", error.what(),
             "); remove it to start over");
}

// Empty: no run has started in the folder.
std::optional<Started> read_started(const std::string& folder) {
  const std::string path = folder + "/" + kStarted;
  if (folder.empty() || !fs::exists(path)) return std::nullopt;
  try {
    const nlohmann::json json = nlohmann::json::parse(core::read_text_file(path, 1 << 20));
    return Started{json.at("identity").get<std::string>(), json.at("threads").get<int>()};
  } catch (const nlohmann::json::exception& error) {
    fail_broken(folder, error);
  }
}

bool is_marker(const fs::path& path) { return path.filename().string().starts_with(kStarted); }

// A folder that a run has started, or that holds only such folders. What is no folder counts as
// empty.
bool is_ours(const fs::path& folder) {
  std::error_code error;
  bool ours = true;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    if (is_marker(entry.path())) return true;
    ours = ours && !entry.is_symlink(error) && entry.is_directory(error) && is_ours(entry.path());
  }
  return ours;
}

// The marker goes last, so that a removal that is interrupted can be repeated. Renamed before
// anything else goes, it starts no run.
void remove_marked(const fs::path& folder, std::error_code& error) {
  if (!fs::is_directory(folder, error)) return error.clear();
  if (fs::exists(folder / kStarted))
    fs::rename(folder / kStarted, folder / (std::string(kStarted) + ".old"), error);
  std::vector<fs::path> others;
  for (const auto& entry : fs::directory_iterator(folder, error))
    if (!is_marker(entry.path())) others.push_back(entry.path());
  for (const fs::path& path : others)
    if (!error && !fs::is_symlink(path) && fs::exists(path / kStarted))
      remove_marked(path, error);
    else if (!error)
      fs::remove_all(path, error);
  if (!error) fs::remove_all(folder, error);
}

}  // namespace

bool WorkFolder::started() const {
  try {
    const auto found = read_started(folder());
    return found && found->identity == identity_;
  } catch (const core::Error&) {
    return false;
  }
}

int WorkFolder::take_threads(int earlier) {
  ESP_CHECK(options_.threads == 0 || earlier == 0 || options_.threads == earlier, usage,
            "--threads ", options_.threads, ": the run in ", folder(),
            " was started with --threads ", earlier,
            ", and another number would round differently; omit --threads");
  if (earlier > 0) options_.threads = earlier;
  return options_.threads;
}

int WorkFolder::begin() {
  auto found = options_.resume ? read_started(folder()) : std::nullopt;
  if (found && found->identity != identity_) {
    ESP_CHECK(options_.or_start_over, input, folder(), kOtherRun);
    core::note(folder() +
               ": was made with other options, inputs or limits of memory; this stage starts over");
    found.reset();
    started_over_ = true;
  }
  if (!found) remove();
  return take_threads(found ? found->threads : 0);
}

void WorkFolder::start() {
  if (started()) return;
  core::make_directory(folder());
  core::write_text_file(
      file(kStarted),
      nlohmann::json{{"identity", identity_}, {"threads", threads()}}.dump() + "\n");
}

bool WorkFolder::has(const std::string& name) const {
  std::error_code error;
  return !folder().empty() && fs::exists(file(name), error);
}

bool WorkFolder::due() const {
  if (!keeps()) return false;
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

void WorkFolder::load(const std::function<void()>& read) const {
  try {
    read();
  } catch (const std::exception& error) {
    fail_broken(folder(), error);
  }
}

std::optional<Manifest> WorkFolder::finished(const std::string& directory,
                                             const std::string& stage) {
  if (!has_manifest(directory)) return std::nullopt;
  Manifest have = read_manifest(directory);
  const bool same = have.stage == stage && have.metrics.value("run", "") == identity_;
  if (!same && options_.or_start_over) return std::nullopt;
  ESP_CHECK(same, input, directory, kOtherRun);
  take_threads(have.metrics.value("threads", 0));
  return have;
}

void WorkFolder::remove(const std::string& folder) {
  if (folder.empty()) return;
  ESP_CHECK(
      is_ours(folder), input, folder,
      ": is no folder of an unfinished run, for it has no started.json; move it or remove it");
  std::error_code error;
  remove_marked(folder, error);
  ESP_CHECK(!error, input, folder, ": cannot remove what an earlier run left: ", error.message());
}

}  // namespace espalier::checkpoint
