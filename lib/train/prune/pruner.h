// SPDX-License-Identifier: Apache-2.0
// `espalier prune`: statistics -> scores -> plan -> compensation -> smaller directory. Does not
// include LibTorch.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "checkpoint/work_folder.h"
#include "core/progress.h"
#include "plan/prune_plan.h"
#include "text/calibration.h"
#include "text/documents.h"

namespace espalier::prune {

enum class Compensation : std::uint8_t { none, least_squares };

struct PruneOptions {
  plan::PruneTarget target;
  // Not empty: what this plan keeps, instead of what a target and scores would choose; `target` and
  // `criterion` have no say then. Compensation refits the plan's cut like any other.
  std::string plan_path;
  // Not empty: the scores in this file decide (scores.h), instead of those of `criterion`.
  std::string scores_path = {};
  std::string criterion = "activation";
  Compensation compensation = Compensation::least_squares;
  // Ridge of the least-squares fit, times the mean diagonal of the Gram matrix. Empty: chosen by
  // the number of tokens.
  std::optional<double> ridge;
  std::string text_path;      // calibration text
  std::string held_out_path;  // not empty: refuse calibration text that overlaps it
  text::Reading reading = {};
  text::CalibrationOptions calibration;
  checkpoint::WriteOptions write = {};
  // Continue from <directory>/checkpoint. Start from the beginning when there is none.
  bool resume = false, or_start_over = false;  // checkpoint/work_folder.h
  int threads = 0;                             // 0: as in that state, else LibTorch's
  // Largest share of the time for writing that state. 1: write after every layer.
  double state_share = 0.05;
};
struct PruneResult {
  plan::PrunePlan plan;
  std::int64_t parameters_before = 0, parameters_after = 0;
  // For people: layers that had less than the target asked for.
  std::vector<std::string> notes = {};
};
// Refuses what prune() cannot do with this model, before any text or tensor is read: sizes that no
// criterion scores, an axis that the given criterion does not know, a plan of other sizes. Returns
// the sizes after.
arch::ModelDims check(const PruneOptions& options, const arch::Arch& arch,
                      const arch::ModelDims& before);
// Writes `directory`: the pruned model, plan.json and importance.json. While layers are cut,
// directory/checkpoint holds the state to resume from. A run that is killed at any moment and
// resumed leaves the same bytes. Without `resume` an unfinished run in `directory` starts over.
PruneResult prune(const checkpoint::Checkpoint& source, const std::string& directory,
                  const PruneOptions& options, const core::Progress& progress);

std::int64_t peak_memory(const PruneOptions& options, const arch::Arch& arch,
                         const arch::ModelDims& dims);
std::int64_t score_memory(const std::string& criterion, const arch::Arch& arch,
                          const arch::ModelDims& dims, const text::CalibrationOptions& calibration);

// (name, source) of every criterion, in the order of criteria.inc.
std::vector<std::pair<std::string, std::string>> criterion_names();

struct ScoreOptions {
  std::string text_path, criterion, out_path;
  text::CalibrationOptions calibration;
  checkpoint::WorkOptions work = {};
  text::Reading reading = {};
};
struct ScoreResult {
  std::string criterion;
  std::int64_t tokens = 0;
  std::vector<std::string> axes;
};
// `espalier score`: writes the file that scores.h describes. A killed run goes on with the same
// bytes where `work` names a folder. A criterion that reads gradients starts over.
ScoreResult score(const checkpoint::Checkpoint& source, const ScoreOptions& options,
                  const core::Progress& progress);

}  // namespace espalier::prune
