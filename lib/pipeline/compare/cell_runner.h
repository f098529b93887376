// SPDX-License-Identifier: Apache-2.0
// Runs cells and the scores that they share, each once. Internal to lib/pipeline/compare.
#pragma once
#include <map>
#include <optional>
#include <string>

#include "compare/cells.h"
#include "compare/compare.h"
#include "compare/finished.h"

namespace espalier::compare {

struct Outcome {
  std::optional<Finished> finished;
  std::string error = {};  // why not
};
// Where the scores of a criterion, or of another tool, lie, and how long they took.
struct ScoresMade {
  std::string criterion, path;
  double seconds = 0;
};

class CellRunner {
 public:
  CellRunner(const Comparison& comparison, const CompareOptions& options,
             const core::Progress& progress);
  // Refuses what no cell can do, from headers alone, before anything has run.
  void check(const Cell& cell);
  // Runs what is not finished. Nothing is thrown for a cell that fails.
  Outcome run(const Cell& cell);
  // Of the criterion by which the cell prunes; none where it has none.
  std::optional<ScoresMade> scores(const Cell& cell);

 private:
  std::string folder_of(const Cell& cell) const { return options_.out + "/cells/" + cell.name; }
  std::string identity_of(const recipe::Recipe& recipe);
  std::string hash_of(const std::string& path, bool is_model);
  nlohmann::ordered_json run_recipe(const recipe::Recipe& recipe, const std::string& folder,
                                    const std::string& until);
  Finished make(const Cell& cell, const std::string& identity);
  Costs costs_of(const nlohmann::ordered_json& ran, const Cell& cell) const;
  void own_stage(const recipe::Recipe& recipe, const Cell& cell);
  StageNumbers numbers_of(const Cell& cell, const std::string& stage) const;
  void measure_speed(const Cell& cell, Finished& finished) const;

  const Comparison& comparison_;
  const CompareOptions& options_;
  const core::Progress& progress_;
  std::map<std::string, std::string> hashes_;                     // by path
  std::map<std::string, std::optional<ScoresMade>> scores_made_;  // by name
};

}  // namespace espalier::compare
