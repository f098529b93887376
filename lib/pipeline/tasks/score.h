// SPDX-License-Identifier: Apache-2.0
// From log-probabilities to the metrics of a task, as lm-evaluation-harness 0.4.13 defines them:
//
//   acc         the choice with the largest log-probability is the right one; of a cloze, every
//               token of the continuation is the likeliest one. The first of several equal ones.
//   acc_norm    the same of log-probability / characters of the choice
//   acc_bytes   the same of log-probability / bytes of the choice
//   *_stderr    sqrt(sum (x - mean)^2 / (n - 1)) / sqrt(n)
//   perplexity  exp(-mean log-probability), of a cloze
#pragma once
#include <cstdint>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "tasks/task.h"

namespace espalier::tasks {

// What a model says of one question.
struct Likelihood {
  double log_probability = 0;  // of all tokens of the continuation, nats
  bool greedy = true;          // each of them is the likeliest one
};

struct ItemScore {
  std::vector<Likelihood> questions = {};
  bool truncated = false;
  bool acc = false, acc_norm = false, acc_bytes = false;
};
// `likelihoods`: of the item's questions.
ItemScore score_item(const Item& item, const Layout& layout,
                     std::span<const Likelihood> likelihoods);

// layout, items, acc, acc_stderr, acc_norm, .., perplexity, truncated: as results and cards have
// it.
nlohmann::ordered_json summary(const Task& task, std::span<const ItemScore> scores);
// One line of JSON for each item, with a newline at the end of each.
std::string item_lines(const Task& task, std::span<const ItemScore> scores);
// The metrics of a summary that gates may limit.
const std::vector<std::string>& gate_metrics();

}  // namespace espalier::tasks
