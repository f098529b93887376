// SPDX-License-Identifier: Apache-2.0
// Opens and checks everything that a run needs before its first step: models, text, and the
// identity by which a checkpoint recognises its run.
#pragma once
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "checkpoint/manifest.h"
#include "data/corpus.h"
#include "distill/logit_cache.h"
#include "distill/trainer.h"
#include "objective/objective.h"

namespace espalier::distill {

struct Setup {
  checkpoint::Checkpoint student_source;
  std::optional<checkpoint::Checkpoint> teacher_source;
  std::optional<LogitCache> cached;  // instead of a teacher
  data::Corpus corpus;
  torch::ScalarType matmul_dtype;
  std::int64_t steps, tokens_per_step;
  std::vector<objective::PlannedTerm> terms;
  objective::Settings settings;
  checkpoint::Manifest manifest;  // with stage, inputs and options filled in
  std::string run;                // sha256 of inputs and options
};

// Throws Error for:
// - options out of range or against each other, or an unknown loss or term
// - a term that cached logits do not determine
// - a term that reads layers when it is unknown which layers of the teacher they were
// - cached logits of another text, tokenizer, sequence, temperature or BOS, or without the windows
//   that the run draws
// - teacher and student of different vocabularies
// - a text shorter than a window, or one that contains held-out text
// - an output that is one of the inputs
Setup prepare(const TrainInput& input, const TrainOptions& options, const core::Progress& progress);

}  // namespace espalier::distill
