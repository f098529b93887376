// SPDX-License-Identifier: Apache-2.0
// What a comparison consists of: cells, each a small recipe. Internal to lib/pipeline/compare.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "compare/comparison.h"
#include "recipe/step.h"

namespace espalier::compare {

// One scheme at one size with one seed. The model itself, "dense", is one too.
struct Cell {
  std::string name = {};                   // of its folder
  const Scheme* scheme = nullptr;          // null: dense
  const Ratio* ratio = nullptr;            // null: of dense, and of a model that was given
  std::optional<std::uint64_t> seed = {};  // nothing is drawn for dense and given models
  std::vector<std::string> stages = {};    // "dense", "pruned", "given"; then "distilled"

  std::string scheme_name() const { return scheme != nullptr ? scheme->name : "dense"; }
  std::string ratio_name() const { return ratio != nullptr ? ratio->name : ""; }
  // In messages: "scheme 'obs', size ffn-1024, seed 0".
  std::string about() const;
};

// In the order of schemes, sizes and seeds; dense first.
std::vector<Cell> cells_of(const Comparison& comparison);

// The stages of a cell: the model, its evaluations, its file, and the same after distillation.
// `scores`: a file of scores that decides what a prune stage keeps, instead of its criterion.
// Error(input) with the place of a key that a stage does not know, or that it refuses.
recipe::Recipe recipe_of(const Comparison& comparison, const Cell& cell,
                         const std::string& scores = "");
// The name of a stage of such a recipe that measures what `stage` made.
std::string evaluation_name(const std::string& stage, const std::string& text);
std::string file_name(const std::string& stage);

// The file of scores of another tool by which a cell prunes. Empty: it prunes by none.
std::string given_scores(const Cell& cell);
// Scores of the dense model by the criterion of a cell. Empty where it prunes by no criterion, but
// by a plan or scores of another tool.
struct ScoresWanted {
  std::string criterion, name;  // name: of their folder, which other cells with the same ones share
  recipe::Recipe recipe;        // its only stage is "scores"
  // Whether a prune stage would compute the very same: the criterion scores the dense model, not
  // the layers as they are once those before them are cut.
  bool decides = false;
};
std::optional<ScoresWanted> scores_wanted(const Comparison& comparison, const Cell& cell);

}  // namespace espalier::compare
