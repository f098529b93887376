// SPDX-License-Identifier: Apache-2.0
// A verb that is a stage on given files: its inputs and options become flags, and it runs as a
// recipe would run it.
#pragma once
#include <CLI/CLI.hpp>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/path_lock.h"
#include "stages/stage.h"
#include "verb.h"

namespace espalier::tool {

struct StageVerb {
  const stages::Kind* kind = nullptr;
  std::unique_ptr<stages::Stage> stage;
  CLI::App* app = nullptr;
  Common* common = nullptr;
  std::map<std::string, std::vector<std::string>> inputs;  // by key
  std::map<std::string, std::vector<double>> weights;      // of inputs that have some
  std::string out, config;
  // Paths of outputs beside the result, by their file, for flags of their own.
  std::map<std::string, std::string> beside;
  text::Reading reading;
  const char* out_flag = "--out";
  bool trains = false;  // may compute on another device than the CPU
  // A further file of the verb, and what reads it into the options.
  std::string more;
  std::function<void(StageVerb&)> read_more = {};
  // Called first. Returns true when that was all.
  std::function<bool(StageVerb&)> instead = {};

  void run();

 private:
  void split_weights();
  void keep_pipes();
  void check_output() const;
  void read_options();
  void check_options() const;
  stages::Context context() const;
  std::unique_ptr<core::PathLock> lock() const;
};

// Adds the verb with the flags of its inputs and options, and with the common ones. `help_of_out`:
// what --out names; null: the verb has none.
std::shared_ptr<StageVerb> add_stage_verb(CLI::App& app, Common& common, const char* kind,
                                          const char* help_of_out);

// Adds every kind of stage that is no verb yet and that makes sense outside a recipe.
void add_stage_verbs(CLI::App& app, Common& common);

}  // namespace espalier::tool
