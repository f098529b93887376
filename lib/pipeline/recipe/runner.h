// SPDX-License-Identifier: Apache-2.0
// Runs stages: directories, manifests, hashes. Internal to lib/pipeline.
#pragma once
#include <map>
#include <optional>
#include <string>

#include "checkpoint/manifest.h"
#include "core/progress.h"
#include "recipe/identity.h"
#include "recipe/planner.h"
#include "recipe/recipe.h"
#include "recipe/step.h"

namespace espalier::recipe {

class Runner {
 public:
  Runner(const Recipe& recipe, const RunOptions& options, const core::Progress& progress);
  nlohmann::ordered_json run(const Plan& plan);
  // The hash of every finished stage's result as it is on disk now, by name. Error(input) where one
  // is not finished.
  std::map<std::string, std::string> finished_hashes();

 private:
  void expect_times(Plan plan);
  nlohmann::ordered_json run_step(const Step& step, checkpoint::Manifest manifest, bool done,
                                  nlohmann::ordered_json& failures);
  std::string directory_of(const std::string& stage) const;  // out/stages/<name>
  std::string result_of(const Step& step) const;             // its path
  std::string path_of(const Link& link) const;
  void check_outputs() const;
  std::string hash_of(const StageInput& input);
  bool is_done(const Step& step, const checkpoint::Manifest& wanted) const;
  checkpoint::Manifest wanted(const Step& step);
  const std::string& reading_of(const std::string& path);
  stages::Context context_of(const Step& step, const checkpoint::Manifest& manifest) const;
  void execute(const Step& step, checkpoint::Manifest& manifest);
  void deliver(const Step& step) const;
  nlohmann::ordered_json record() const;            // report_data.cpp
  std::string record_hash(const Step& step) const;  // report_data.cpp

  const Recipe& recipe_;
  const RunOptions& options_;
  const core::Progress& progress_;
  // Of the teacher, the files by path, and the results of finished stages.
  std::map<std::string, std::string> hashes_, file_hashes_;
  // Part of the identity of stages that read the training text, which reads differently with it.
  std::optional<std::int32_t> window_bos_;
  std::map<std::string, std::string> readings_;  // text::describe_reading, by path
  std::map<std::string, double> expected_;       // seconds, by name of the stage
};

// SHA-256 of what a stage left at `path`.
std::string artifact_hash(stages::Artifact artifact, const std::string& path);

}  // namespace espalier::recipe
