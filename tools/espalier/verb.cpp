// SPDX-License-Identifier: Apache-2.0
// Common flags, printing and progress of all verbs.
#include "verb.h"

#include <cstdio>
#include <filesystem>

#include "command_line.h"
#include "core/duration.h"
#include "core/error.h"
#include "core/notes.h"
#include "core/profile.h"
#include "core/units.h"
#include "progress.h"
#include "streams.h"
#ifdef ESPALIER_WITH_TRAINING
#include "model/device.h"
#include "model/peak.h"
#endif

namespace espalier::tool {
namespace {

// Operations per second of a matrix product in float32. 0 when no section counted operations.
double measured_peak(const std::vector<core::SectionTime>& sections) {
#ifdef ESPALIER_WITH_TRAINING
  for (const core::SectionTime& s : sections)
    if (s.operations > 0) return model::peak_operations_per_second();
#else
  static_cast<void>(sections);
#endif
  return 0;
}

nlohmann::ordered_json profile_json(const std::vector<core::SectionTime>& sections, double peak) {
  double total = 0;
  for (const core::SectionTime& s : sections) total += s.seconds;
  nlohmann::ordered_json out{{"seconds", total},
                             {"peak_gflops", peak / 1e9},
                             {"sections", nlohmann::ordered_json::array()}};
  for (const core::SectionTime& s : sections) {
    nlohmann::ordered_json row{
        {"name", s.name}, {"seconds", s.seconds}, {"share", s.seconds / total}, {"calls", s.calls}};
    if (s.operations > 0) {
      row["gflops"] = s.operations / s.seconds / 1e9;
      row["of_peak"] = s.operations / s.seconds / peak;
    }
    out["sections"].push_back(std::move(row));
  }
  return out;
}

std::string readable_profile(const nlohmann::ordered_json& profile) {
  char line[128];
  std::snprintf(line, sizeof line, "%-16s %10s %7s %9s %8s\n", "section", "time", "share",
                "GFLOP/s", "of peak");
  std::string out = line;
  for (const auto& s : profile["sections"]) {
    std::snprintf(line, sizeof line, "%-16s %10s %6.1f%%", s["name"].get<std::string>().c_str(),
                  core::human_duration(s["seconds"].get<double>()).c_str(),
                  100 * s["share"].get<double>());
    out += line;
    if (s.contains("gflops")) {
      std::snprintf(line, sizeof line, " %9.1f %7.1f%%", s["gflops"].get<double>(),
                    100 * s["of_peak"].get<double>());
      out += line;
    }
    out += "\n";
  }
  return out;
}

}  // namespace

core::Progress Common::progress() const { return tool::progress(quiet); }

std::string Common::device_program() const { return program_directory + "/espalier-run"; }

void add_common(CLI::App& app, Common& common, bool training) {
  app.add_flag("--json", common.json, "print one JSON object on stdout");
  app.add_flag("--quiet", common.quiet, "no progress on stderr");
  add_progress_file(app);
  app.add_option("--threads", common.threads, "threads (0: all processors)")
      ->check(whole_number(0, 1024));
  add_seed(app, common.seed);
  if (training) app.add_option("--device", common.device, "auto, cpu or cuda[:N]");
}
void add_experimental_device(CLI::App& app, Common& common) {
  app.add_flag("--experimental-device", common.experimental_device,
               "allow a --device on which no test of ours has run: cuda");
}

void add_max_ram(CLI::App& app, Common& common) {
  app.add_option("--max-ram", common.max_ram,
                 "refuse to start when more memory would be needed, e.g. 4GiB");
}
void add_profile(CLI::App& app, Common& common) {
  app.add_flag_callback(
      "--profile",
      [&common] {
        common.profile = true;
        core::start_profile();
      },
      "print where the time went, with its share of the measured peak of matrix products");
}
std::int64_t Common::max_ram_bytes() const {
  if (max_ram.empty()) return 0;
  const std::int64_t bytes = core::parse_bytes(max_ram, "--max-ram");
  ESP_CHECK(bytes > 0, usage, "--max-ram ", max_ram,
            ": nothing runs in no memory; leave it out for no limit");
  return bytes;
}

void add_resume(CLI::App& app, Common& common) {
  app.add_flag("--resume", common.resume, "go on where a killed run with the same options stood");
}
void add_work(CLI::App& app, Common& common, const std::string& otherwise) {
  app.add_option(
      "--work", common.work,
      "folder in which an unfinished run keeps what it has (default: " + otherwise + ")");
  add_resume(app, common);
}
checkpoint::WorkOptions work_options(const Common& common, const std::string& otherwise,
                                     const std::string& advice) {
  const std::string& folder = common.work.empty() ? otherwise : common.work;
  ESP_CHECK(!common.resume || !folder.empty(), usage,
            "--resume: there is no folder to go on from; ", advice);
  if (common.resume && !std::filesystem::exists(folder))
    core::note(folder + ": there is nothing to resume; the run starts from the beginning");
  return {.folder = folder, .resume = common.resume, .threads = common.threads};
}

void note_nothing_to_resume(const Common& common, const std::string& out) {
  if (common.resume && !std::filesystem::exists(out + "/checkpoint") &&
      !std::filesystem::exists(out + "/manifest.json"))
    core::note(out + ": there is nothing to resume; the run starts from the beginning");
}

bool given(const CLI::App& verb, const char* flag) { return verb.get_option(flag)->count() > 0; }

void refuse_unused(const CLI::App& verb, const std::string& cause,
                   std::initializer_list<const char*> flags, const std::string& advice) {
  std::string unused;
  for (const char* flag : flags)
    if (given(verb, flag)) unused += (unused.empty() ? "" : ", ") + std::string(flag);
  ESP_CHECK(unused.empty(), usage, verb.get_name(), ": no effect ", cause, ": ", unused, "; ",
            advice);
}

void print(const Common& common, const nlohmann::ordered_json& result,
           const std::string& readable_result) {
  nlohmann::ordered_json all = result;
  std::string readable = readable_result;
  if (common.profile) {
    const std::vector<core::SectionTime> sections = core::profile();
    all["profile"] = profile_json(sections, measured_peak(sections));
    readable += readable_profile(all["profile"]);
  }
  if (!all.contains("notes")) all["notes"] = nlohmann::ordered_json::array();
  for (const std::string& note : core::notes()) all["notes"].push_back(note);
  using Json = nlohmann::ordered_json;
  leave_progress();
  write_result(common.json ? all.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n"
                           : readable);
}

void apply_device([[maybe_unused]] const Common& common, [[maybe_unused]] bool trains) {
#ifdef ESPALIER_WITH_TRAINING
  ESP_CHECK(
      trains || !common.device.starts_with("cuda"), unsupported, "--device ", common.device,
      ": only distill computes on another device, and this verb on the CPU; use --device cpu");
  model::use_device({.device = common.device,
                     .experimental = common.experimental_device,
                     .threads = common.threads});
#endif
}

}  // namespace espalier::tool
