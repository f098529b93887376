// SPDX-License-Identifier: Apache-2.0
// Runs stages: directories, manifests, hashes. Internal to lib/pipeline/recipe.
#pragma once
#include <map>
#include <string>

#include "checkpoint/checkpoint.h"
#include "checkpoint/manifest.h"
#include "core/progress.h"
#include "export/export_gguf.h"
#include "plan/quant_plan.h"
#include "recipe/identity.h"
#include "recipe/recipe.h"
#include "recipe/stage.h"

namespace espalier::recipe {

class Runner {
 public:
  Runner(const Recipe& recipe, const RunOptions& options, const core::Progress& progress);
  nlohmann::ordered_json run();

 private:
  std::string directory_of(const std::string& stage) const;         // out/stages/<name>
  std::string model_of(const std::string& stage_or_teacher) const;  // directory or .gguf
  void check_outputs() const;
  void check_texts();
  std::string hash_of(const StageInput& input);
  bool is_done(const Stage& stage, const checkpoint::Manifest& wanted) const;
  void execute(const Stage& stage, checkpoint::Manifest& manifest);
  void execute(const PruneStage& what, const std::string& directory,
               checkpoint::Manifest& manifest);
  void execute(const DistillStage& what, const std::string& directory,
               checkpoint::Manifest& manifest);
  void execute(const QuantizeStage& what, const std::string& directory,
               checkpoint::Manifest& manifest);
  void execute(const VerifyStage& what, const std::string& directory,
               checkpoint::Manifest& manifest);
  void execute(const ReportStage& what, const std::string& directory,
               checkpoint::Manifest& manifest);
  // By format, or by the size that the stage asks for.
  plan::QuantPlan quant_plan(const QuantizeStage& what, const checkpoint::Checkpoint& source,
                             const exporter::ExportOptions& options) const;
  void deliver(const std::string& file, const std::string& name) const;
  std::string output_hash(const Stage& stage) const;
  nlohmann::ordered_json report_data(const ReportStage& what) const;  // report_data.cpp
  std::string record_hash(const Stage& stage) const;                  // report_data.cpp

  const Recipe& recipe_;
  const RunOptions& options_;
  const core::Progress& progress_;
  // Of the teacher, the files by path, and what finished stages made.
  std::map<std::string, std::string> hashes_, file_hashes_;
};

}  // namespace espalier::recipe
