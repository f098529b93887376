// SPDX-License-Identifier: Apache-2.0
// Accuracy on tasks with right answers (tasks/task.h), as lm-evaluation-harness 0.4.13 measures it.
// The training side reads a directory or a GGUF one layer at a time. The device runtime reads a
// GGUF.
#pragma once
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>

#include "core/progress.h"
#include "tasks/task.h"
#include "verify/evaluate.h"

namespace espalier::verify {

// Tokens that go through a layer of the training side at a time; a longer item goes alone.
inline constexpr std::int64_t kForestTokens = 2048;

struct TaskOptions {
  int threads = 0;  // of the device runtime
  MemoryBudget memory = {};
};
struct TaskResults {
  nlohmann::ordered_json by_name;       // tasks::summary() of each task
  double accuracy = 0;                  // mean of acc over the tasks
  std::optional<double> accuracy_norm;  // mean of acc_norm over the tasks that have it
  std::int64_t items = 0;
  std::string lines;  // tasks::item_lines() of all tasks
};
// Error(input) with file and line for an item that the model's tokenizer or positions do not allow.
// Leaves a note where items are longer than the model's positions and lose tokens on the left.
TaskResults measure_tasks(const EvalModel& model, std::span<const tasks::Task> tasks,
                          const TaskOptions& options, const core::Progress& progress);

}  // namespace espalier::verify
