// SPDX-License-Identifier: Apache-2.0
// The terms that options ask for. Either `terms` names them all, or `loss`, `kl_weight` and
// `ce_weight` do, and stand for {<loss>: kl_weight, ce: ce_weight}.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "arch/arch.h"
#include "checkpoint/checkpoint.h"
#include "distill/options.h"
#include "objective/objective.h"

namespace espalier::distill {

// In the order of terms.inc, without pairs of layers. Of the short form: the divergence, labelled
// "kl", then "ce".
//
// Error(usage) for a weight that is none, for `terms` beside the short form, and for an option of a
// term that is not used.
std::vector<objective::PlannedTerm> planned_terms(const TrainOptions& options);

// Error(usage) when terms need a teacher (or its cached logits) and there is none, and when `terms`
// leave it unread.
void check_teacher(const std::vector<objective::PlannedTerm>& terms, const TrainOptions& options,
                   bool has_teacher);
// Error(usage) when a term reads more than a cache of `k` tokens at that path holds.
void check_cached(const std::vector<objective::PlannedTerm>& terms, const TrainOptions& options,
                  const std::string& path, std::int64_t k);

// Finds the pairs of layers of terms that read states, from the options and the student's
// plan.json. Returns what the plan says about the student.
objective::Origin pair_layers(std::vector<objective::PlannedTerm>& terms,
                              const TrainOptions& options, const checkpoint::Checkpoint& student,
                              const checkpoint::Checkpoint& teacher);

// What terms add to the peak memory of a training. teacher_hidden: the teacher's hidden size.
std::int64_t terms_memory(const TrainOptions& options, const arch::ModelDims& student,
                          std::int64_t teacher_hidden, std::int64_t tokens);

}  // namespace espalier::distill
