// SPDX-License-Identifier: Apache-2.0
// What all verbs share: the common flags, and the output of results and progress. A verb is one
// file. It adds a subcommand whose callback turns flags into one library call and prints the
// result.
#pragma once
#include <CLI/CLI.hpp>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "checkpoint/work_folder.h"
#include "core/progress.h"

namespace espalier::tool {

struct Common {
  bool json = false, quiet = false, profile = false;
  int threads = 0;
  std::uint64_t seed = 0;
  std::string device = "auto", max_ram, work;
  bool resume = false, experimental_device = false;
  std::string program_directory;  // the folder of this program and of espalier-run

  core::Progress progress() const;  // progress.h
  std::string device_program() const;
  std::int64_t max_ram_bytes() const;  // 0: no limit
};

// Adds --json --quiet --progress-file --threads --seed (and --device for training verbs).
void add_common(CLI::App& app, Common& common, bool training = false);
// Adds --experimental-device for a verb that may compute on another device than the CPU.
void add_experimental_device(CLI::App& app, Common& common);
// Adds --max-ram. The verb refuses to start when it would need more memory.
void add_max_ram(CLI::App& app, Common& common);
// Adds --profile: where the time went, by section.
void add_profile(CLI::App& app, Common& common);
bool given(const CLI::App& verb, const char* flag);  // on the command line, also with its default
// Refuses (usage) those of `flags` that were given: beside `cause` they would have no effect, and
// what a user asks for is not dropped in silence. `advice`: what to do instead.
void refuse_unused(const CLI::App& verb, const std::string& cause,
                   std::initializer_list<const char*> flags, const std::string& advice);
// Adds --resume for a verb with a folder of its own.
void add_resume(CLI::App& app, Common& common);
// Adds --work and --resume for a verb that has no folder of its own. `otherwise` says what happens
// without --work.
void add_work(CLI::App& app, Common& common, const std::string& otherwise);
// The folder of --work, else `otherwise`, and whether to go on from it. Error(usage) for --resume
// without a folder; `advice` says how to name one.
checkpoint::WorkOptions work_options(const Common& common, const std::string& otherwise,
                                     const std::string& advice);
// Leaves a note when --resume finds neither an unfinished run nor a result in the directory `out`.
void note_nothing_to_resume(const Common& common, const std::string& out);
// Prints `result` as one JSON object with --json, else `readable`. The notes of the libraries
// (core/notes.h) join the object's "notes".
void print(const Common& common, const nlohmann::ordered_json& result, const std::string& readable);
// Sets LibTorch's thread count to --threads, and the device of training to --device. Verbs that use
// LibTorch call it first. Only those that train may take another device than the CPU.
void apply_device(const Common& common, bool trains = false);

// Verbs with a file of their own, of the files tower and of the training towers. main.cpp expands
// the lists. Every other kind of stage is a verb without more (stage_verb.h).
// clang-format off
#define ESP_VERBS_FILES(ESP_VERB) \
  ESP_VERB(import)                \
  ESP_VERB(inspect)
#define ESP_VERBS_TRAIN(ESP_VERB) \
  ESP_VERB(score)                 \
  ESP_VERB(eval)                  \
  ESP_VERB(verify)                \
  ESP_VERB(plan)                  \
  ESP_VERB(run)                   \
  ESP_VERB(compare)               \
  ESP_VERB(status)
// clang-format on

#define ESP_VERB(name) void add_##name(CLI::App& app, Common& common);
ESP_VERBS_FILES(ESP_VERB)
ESP_VERBS_TRAIN(ESP_VERB)
#undef ESP_VERB

}  // namespace espalier::tool
