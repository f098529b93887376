// SPDX-License-Identifier: Apache-2.0
// Log-probabilities of the requests of tasks, on either engine. What the requests of an item share
// is read once. Internal to lib/pipeline/verify.
#pragma once
#include <span>
#include <vector>

#include "core/progress.h"
#include "tasks/request.h"
#include "tasks/score.h"
#include "verify/measure_tasks.h"

namespace espalier::verify {

// Of requests 0 .. n_requests - 1, which the trees hold. Error(input) unless logits are finite.
std::vector<tasks::Likelihood> likelihoods(const EvalModel& model,
                                           std::span<const tasks::Tree> trees,
                                           std::size_t n_requests, const TaskOptions& options,
                                           const core::Progress& progress);

}  // namespace espalier::verify
