// SPDX-License-Identifier: Apache-2.0
// Tasks with right answers, and what is asked of a model for each of their items. A task is a file
// with a line of JSON for each item, as the datasets on the Hugging Face hub have them. Prompts are
// those of EleutherAI's lm-evaluation-harness 0.4.13, without examples in front ("zero-shot").
#pragma once
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace espalier::tasks {

// One question to a model: the log-probability of the continuation behind the context. UTF-8.
struct Question {
  std::string context, continuation;
  // Length of the choice, by which acc_norm and acc_bytes divide. Not always that of the
  // continuation.
  std::int64_t characters = 0, bytes = 0;
};

struct Item {
  std::vector<Question> questions;  // one for each choice
  std::size_t answer = 0;           // the right one
  std::int64_t line = 0;            // of the file, from 1
};

// How the lines of a kind of dataset look, and what is asked.
struct Layout {
  std::string_view name;
  // A line has this layout when it has all keys and none of the others.
  std::vector<std::string_view> keys, others;
  // The last word of a text is asked for, instead of the best of several choices.
  bool cloze;
  // Error(input) says what of the line is wrong.
  Item (*read)(const nlohmann::ordered_json& line);
};
std::span<const Layout* const> all_layouts();

struct Task {
  std::string name, path;
  const Layout* layout = nullptr;
  std::vector<Item> items = {};  // not empty, all of the layout
};
struct TaskFile {
  std::string name, path;
};

// Error(input) with file and line: no JSON, a layout that is not known or another one than above,
// an answer out of range, an empty continuation.
Task read_task(const TaskFile& file);
// Error(usage) when two have one name.
std::vector<Task> read_tasks(std::span<const TaskFile> files);
// "arc_easy" of "data/arc_easy.jsonl".
std::string task_name(std::string_view path);

}  // namespace espalier::tasks
