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
#include "data/mixture.h"
#include "plan/prune_plan.h"
#include "text/calibration.h"
#include "text/documents.h"

namespace espalier::prune {

// bias: bias.h; least_squares: layerwise/follow.h; merge: surgery/merge.h.
enum class Compensation : std::uint8_t { none, bias, least_squares, merge };
// A pass over the text fits what is left.
constexpr bool refits(Compensation c) {
  return c == Compensation::bias || c == Compensation::least_squares;
}

struct PruneOptions {
  plan::PruneTarget target;
  // The total of the target's ffn and kv_groups is shared out among the layers.
  bool per_layer = false;
  // So many attention and FFN blocks of all layers stay. It is the only size then.
  std::optional<std::int64_t> blocks = {};
  // Not empty: what this plan keeps, instead of what a target and scores would choose; `target` and
  // `criterion` have no say then. Compensation refits the plan's cut like any other.
  std::string plan_path;
  // Not empty: the scores in this file decide (scores.h), instead of those of `criterion`. Sizes
  // within a total are then chosen by them alone, unless a text refits what stays.
  std::string scores_path = {};
  // The tokens that stay (plan/vocabulary_choice.h), as many as `target.vocab`. A plan may not
  // choose them too.
  plan::Selection vocab = {};
  std::string criterion = "activation";
  // Which layers go: a criterion that scores layers. Empty: `criterion` where it scores them, else
  // block influence.
  std::string layer_criterion = {};
  Compensation compensation = Compensation::least_squares;
  // Ridge of every least-squares fit, times the mean diagonal of the Gram matrix. Empty: each fit
  // chooses its own by windows that it did not see.
  std::optional<double> ridge;
  std::vector<data::Share> texts;  // calibration texts
  std::string held_out_path;       // not empty: refuse calibration text that overlaps it
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
// the sizes after; those before where blocks go, because scores decide which. Where a total is
// given, equal sizes within it, unless a file of scores decides.
arch::ModelDims check(const PruneOptions& options, const arch::Arch& arch,
                      const arch::ModelDims& before);
// Writes `directory`: the pruned model, plan.json and importance.json. While layers are cut,
// directory/checkpoint holds the state to resume from. A run that is killed at any moment and
// resumed leaves the same bytes. Without `resume` an unfinished run in `directory` starts over.
PruneResult prune(const checkpoint::Checkpoint& source, const std::string& directory,
                  const PruneOptions& options, const core::Progress& progress);

std::int64_t peak_memory(const PruneOptions& options, const arch::Arch& arch,
                         const arch::ModelDims& dims);
// Of the turned model that a criterion of directions keeps on disk while it is cut; else 0.
std::int64_t turned_bytes(const PruneOptions& options, const arch::Arch& arch,
                          const arch::ModelDims& dims);
std::int64_t score_memory(const std::string& criterion, const arch::Arch& arch,
                          const arch::ModelDims& dims, const text::CalibrationOptions& calibration);

// What options, lists and predictions say of a criterion.
struct CriterionFacts {
  std::string name, source = {};
  std::vector<std::string> axes = {};  // and "layers" and "blocks"
  bool scores_layers = false;
  bool before_the_pass = false;  // it scores everything before anything is cut
  bool backward = false, second_moments = false;
  // How often it computes losses without each of the layers; null: never.
  std::int64_t (*rounds)(std::int64_t layers, std::int64_t drop) = nullptr;
  bool turns = false;  // it cuts directions of the stream (rotation.h)
};
// Windows that decide which layers go.
inline constexpr std::int64_t kLayerWindows = 16;
// What a choice of sizes within a total takes, beside the pass that cuts.
struct SizesFacts {
  std::int64_t choices = 0;  // passes of so many tokens are cut and compared; 0: none is made
  std::int64_t tokens = 0;
  std::int64_t tokens_without = 0;  // with each block cut, and without it
};
SizesFacts sizes_facts(const PruneOptions& options, const arch::Arch& arch,
                       const arch::ModelDims& before);
std::vector<CriterionFacts> criterion_facts();     // in the order of criteria.inc
CriterionFacts facts_of(const std::string& name);  // nothing but the name of an unknown one

struct ScoreOptions {
  std::vector<data::Share> texts;
  std::string criterion, out_path;
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
