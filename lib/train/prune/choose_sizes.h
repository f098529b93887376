// SPDX-License-Identifier: Apache-2.0
// Decides the sizes that a total leaves open (plan/layer_sizes.h). Every choice that is worth
// comparing cuts the model in a pass over some windows, and the loss on windows that the pass did
// not fit decides. Equal sizes are among the choices, so what is taken is no worse than they are on
// those windows.
#pragma once
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "plan/layer_sizes.h"
#include "prune/curves.h"
#include "prune/sequential.h"

namespace espalier::prune {

// Windows that choices are fitted to, and that judge them: of fewer, a quarter judges.
inline constexpr std::int64_t kFitWindows = 16, kJudgedWindows = 16;

struct SizesInput {
  const plan::SizeQuestion& question;
  const Scores& scores;  // of a criterion that scores before the pass
  // What does not differ between the choices: the model, the criterion, compensation, the stream.
  const SequentialInput& pass;
  std::uint64_t seed = 0;
  checkpoint::WorkFolder& work;  // keeps the curves and the decision
};
struct DecidedSizes {
  plan::SizeChoice choice;
  std::vector<plan::BlockCurve> curves;
  // For importance.json: {"chosen": name, "choices": [{"name", "parameters", "expected", "loss"}]}.
  // Without "loss" where there was one choice, or no window to judge by.
  nlohmann::ordered_json about;
  std::string note;  // for people
};
DecidedSizes decide_sizes(const SizesInput& input);

// By scores alone: the choice of least expected loss.
plan::PrunePlan plan_by_scores(plan::SizeQuestion question, const Scores& scores,
                               const arch::ModelDims& before);

}  // namespace espalier::prune
