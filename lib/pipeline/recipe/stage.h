// SPDX-License-Identifier: Apache-2.0
// The validated stages of a recipe. A stage is a function from directories to a directory:
// out/stages/<name>/, finished when its manifest.json is there and matches what the recipe asks for
// now.
#pragma once
#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "calibrate/calibrate.h"
#include "distill/trainer.h"
#include "export/export_gguf.h"
#include "prune/pruner.h"

namespace espalier::recipe {

struct PruneStage {
  std::string from;
  prune::PruneOptions options;
};
struct DistillStage {
  std::string from,
      teacher;  // teacher: "teacher", a stage, or "none" (cross-entropy alone: continued training)
  distill::TrainOptions options;
};
struct QuantizeStage {
  std::string from;
  std::string format;  // a mix, or empty with one of the two below
  std::optional<std::int64_t> target_bytes;
  std::string no_larger_than;  // a quantize stage: its file's bytes are the budget
  std::vector<std::string>
      candidates;  // formats a budget may choose from; empty: its usual ones (export/budget.cpp)
  std::map<std::string, format::FormatId> overrides;
  quant::Rounding rounding = quant::Rounding::gptq;
  calibrate::CalibrateOptions calibration;
  std::string deliver;  // file name in --out that the GGUF is put under
};
struct VerifyStage {
  std::string of, student;           // a quantize stage; the stage it was made from (float student)
  std::vector<std::string> compare;  // stages shown as baselines
  std::int64_t context = 512, windows = 0;
  nlohmann::json gates;
  std::string deliver = "device-card.json";
};
struct ReportStage {
  std::string title;
  std::string deliver = "report.html";
};

struct Stage {
  std::string name, place;  // place: file:line:column
  std::variant<PruneStage, DistillStage, QuantizeStage, VerifyStage, ReportStage> what;
  std::string kind() const;
  std::vector<std::string> needs() const;  // names of stages (or "teacher") it reads
};

struct Recipe {
  std::string path, name, text;  // text: the file
  std::uint64_t seed = 0;
  std::string teacher, train_text, held_out_text;
  std::string teacher_shape;  // a config.json that `plan` takes the sizes from while the teacher is
                              // not there
  std::optional<std::string> train_sha256,
      held_out_sha256;        // when the recipe states them, checked before anything runs
  std::vector<Stage> stages;  // in order; a stage may only need earlier ones
  const Stage* find(const std::string& stage_name) const;
};

Recipe parse_recipe(const std::string& path);
// Everything that determines a stage's result besides its inputs' content, for its manifest.
nlohmann::ordered_json options_json(const Stage& stage, const Recipe& recipe);

}  // namespace espalier::recipe
