// SPDX-License-Identifier: Apache-2.0
// Tasks as an input of a stage: a list of files, each with the name of the task that it holds.
#pragma once
#include <string>
#include <vector>

#include "stages/stage.h"
#include "tasks/task.h"

namespace espalier::stages {

inline constexpr const char* kTasks = "tasks";  // key

inline Input tasks_input() {
  return {kTasks, "--task", "items with right answers, one a line (JSONL)", {Artifact::text}, "",
          false,  true};
}

// "tasks arc.jsonl", as recipes call a file, and "arc.jsonl" are the task arc.
template <typename Sources>
std::vector<tasks::TaskFile> task_files(const Sources& sources) {
  const std::string prefix = std::string(kTasks) + " ";
  std::vector<tasks::TaskFile> out;
  for (const auto& source : sources) {
    const std::string& name = source.name;
    out.push_back({tasks::task_name(name.starts_with(prefix) ? name.substr(prefix.size()) : name),
                   source.path});
  }
  return out;
}
inline std::vector<tasks::TaskFile> task_files(const Context& context) {
  const auto it = context.inputs.find(kTasks);
  return it == context.inputs.end() ? std::vector<tasks::TaskFile>{} : task_files(it->second);
}
// From headers: also reads those that are there, so that a broken one is refused before anything
// runs.
inline std::vector<tasks::TaskFile> task_files(const Forecast& forecast) {
  if (!forecast.has(kTasks)) return {};
  const std::vector<tasks::TaskFile> out = task_files(forecast.inputs.at(kTasks));
  std::vector<tasks::TaskFile> there;
  for (const tasks::TaskFile& file : out)
    if (!file.path.empty()) there.push_back(file);
  static_cast<void>(tasks::read_tasks(there));
  return out;
}

}  // namespace espalier::stages
