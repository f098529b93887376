// SPDX-License-Identifier: Apache-2.0
// The validated stages of a recipe. A stage is a function from directories to a directory,
// out/stages/<name>/. It is finished when its manifest.json exists and matches the recipe.
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
  // teacher: "teacher", a stage, or "none" (cross-entropy only: continued training).
  std::string from, teacher;
  distill::TrainOptions options;
};
struct QuantizeStage {
  std::string from;
  std::string format;  // a mix; empty with one of the next two
  std::optional<std::int64_t> target_bytes;
  // A quantize stage. The size of its file is the budget.
  std::string no_larger_than;
  // Formats that a budget may choose from. Empty: the default candidates (export/budget.cpp).
  std::vector<std::string> candidates;
  std::map<std::string, format::FormatId> overrides;
  quant::Rounding rounding = quant::Rounding::gptq;
  text::CalibrationOptions calibration;
  bool no_tokenizer = false;  // the GGUF gets none
  std::string deliver;        // the GGUF's file name in --out
};
// What the statistics of its text hold. A budget weighs the formats of every matrix.
inline calibrate::Moments moments_of(const QuantizeStage& stage) {
  if (stage.rounding != quant::Rounding::gptq) return calibrate::Moments::squares;
  return stage.format.empty() ? calibrate::Moments::gram : calibrate::Moments::output;
}
struct VerifyStage {
  std::string of, student;  // a quantize stage, and the stage it was made from (float student)
  std::vector<std::string> compare;  // stages that the card shows as baselines
  std::int64_t context = 512, windows = 0;
  nlohmann::json gates;
  std::string deliver = "device-card.json";
};
struct ReportStage {
  std::string title;
  std::string deliver = "report.html";
};

struct Stage {
  std::string name, place;                   // place: file:line:column
  std::vector<std::string> known_keys = {};  // all that the parser takes in a stage of this kind
  std::variant<PruneStage, DistillStage, QuantizeStage, VerifyStage, ReportStage> what;
  std::string kind() const;
  std::vector<std::string> needs() const;  // names of stages (or "teacher") that it reads
};

// The name of the file in --out that a stage delivers. Empty: none.
std::string delivered(const Stage& stage);

struct Recipe {
  std::string path, name, text;  // text: the contents of the file
  std::uint64_t seed = 0;
  std::string teacher, train_text, held_out_text;
  std::string teacher_place, train_place, held_out_place;  // file:line:column
  // A config.json from which `plan` takes the sizes while the teacher is absent.
  std::string teacher_shape;
  // Hashes that the recipe states. Checked before anything runs.
  std::optional<std::string> train_sha256, held_out_sha256;
  std::vector<std::string> known_keys = {};  // all that the parser takes beside the stages
  std::vector<Stage> stages;                 // in order; a stage may need only earlier stages
  const Stage* find(const std::string& stage_name) const;
};

Recipe parse_recipe(const std::string& path);

}  // namespace espalier::recipe
