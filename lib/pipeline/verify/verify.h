// SPDX-License-Identifier: Apache-2.0
// The device card: parity (legs A, B, C), quality, size, memory and speed of one GGUF, with gates.
#pragma once
#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/progress.h"
#include "tasks/task.h"
#include "verify/evaluate.h"

namespace espalier::verify {

struct Compared {
  // A directory, or a GGUF, which the device runtime runs like the file itself.
  std::string name, path;
};
struct VerifyOptions {
  std::string teacher;  // --against
  std::string student;  // the float student from which the file was made; may be empty
  std::string text_path;
  text::Reading reading = {};
  // Number of windows, spread evenly over the text; 0: all.
  std::int64_t context = 512, max_windows = 0;
  std::int64_t max_ram = 0;  // bytes; 0: no limit
  // Path of espalier-run. A child process of it measures speed, RSS and ISA.
  std::string bench_program;
  int threads = 0;
  // Where the run keeps what it has, so that a killed one can go on. The caller removes the folder
  // when the card is written. An empty folder: nothing is kept.
  checkpoint::WorkOptions work = {};
  std::vector<Compared> compare;       // baselines, measured on the same windows in the same pass
  std::vector<tasks::TaskFile> tasks;  // measured of the file and of the teacher
  bool with_speed = true;
  // Name -> sha256 of each input from which the file was made.
  std::map<std::string, std::string> lineage;
  // {"perplexity_ratio_max": 1.12, "file_bytes_max": .., ...}. Unknown gate names are refused.
  nlohmann::json gates;
};
// A file without gates is not one that passed them: nothing was asked of it.
enum class Gates : std::uint8_t { passed, failed, none };
const char* gates_name(Gates gates);  // "passed", "failed", "none"
struct VerifyResult {
  nlohmann::ordered_json card;  // "verdict": {"gates": gates_name(), "parity": "passed" | "failed"}
  Gates gates = Gates::none;
  bool parity = false;
  bool passed() const { return parity && gates != Gates::failed; }
  // What failed, for people: "parity failed", "2 of 5 gates failed", or both. Empty when passed().
  std::string failures() const;
};
VerifyResult verify(const std::string& gguf, const VerifyOptions& options,
                    const core::Progress& progress);
// The names that a gates file may use: "<card value>_max" or "<card value>_min". Examples are
// perplexity_ratio_max, file_bytes_max, kl_mean_max, same_top1_min, decode_tokens_per_second_min,
// peak_rss_bytes_max, parameters_ratio_max.
const std::vector<std::string>& gate_names();
// The same of tasks, where NAME stands for the name of one: "task.NAME.acc_norm_min".
const std::vector<std::string>& task_gate_patterns();
// Error(usage) for a gate on a task that is not among `names`.
void require_tasks_of_gates(const std::map<std::string, double>& gates,
                            const std::vector<std::string>& names);
std::string readable_card(const nlohmann::ordered_json& card);

}  // namespace espalier::verify
