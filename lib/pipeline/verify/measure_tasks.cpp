// SPDX-License-Identifier: Apache-2.0
// Items to requests, requests to log-probabilities, log-probabilities to metrics.
#include "verify/measure_tasks.h"

#include <algorithm>

#include "checkpoint/checkpoint.h"
#include "core/error.h"
#include "core/notes.h"
#include "tasks/request.h"
#include "tasks/score.h"
#include "verify/likelihoods.h"

namespace espalier::verify {
namespace {

using tasks::Item;
using tasks::ItemScore;
using tasks::Task;

// Requests of all items, one after the other.
struct Asked {
  std::vector<tasks::Tree> trees = {};
  std::vector<bool> truncated = {};  // by item
  std::size_t n_requests = 0;
};

void add_item(Asked& all, tasks::Encoder& encoder, const Item& item, std::int64_t split) {
  std::vector<tasks::Request> requests;
  bool truncated = false;
  for (const tasks::Question& question : item.questions) {
    requests.push_back(encoder.encode(question));
    truncated = truncated || requests.back().truncated;
  }
  for (tasks::Tree& tree : tasks::trees_of(requests, all.n_requests, split))
    all.trees.push_back(std::move(tree));
  all.truncated.push_back(truncated);
  all.n_requests += requests.size();
}

Asked ask(const checkpoint::Checkpoint& source, std::span<const Task> tasks) {
  const text::Tokenizer tokenizer(source.tokenizer());
  tasks::Encoder encoder(tokenizer, source.dims().positions);
  const arch::LongRope& rope = source.dims().long_rope;
  const std::int64_t split = rope.used() ? rope.original_positions : 0;
  Asked out;
  for (const Task& task : tasks)
    for (const Item& item : task.items) {
      try {
        add_item(out, encoder, item, split);
      } catch (const core::Error& e) {
        core::fail(e.kind(), task.path, ":", item.line, ": ", e.what());
      }
    }
  return out;
}

void note_truncated(const Task& task, const std::vector<ItemScore>& scores,
                    const checkpoint::Checkpoint& source) {
  const auto n =
      std::count_if(scores.begin(), scores.end(), [](const ItemScore& s) { return s.truncated; });
  if (n > 0)
    core::note(task.path + ": " + std::to_string(n) + " of " + std::to_string(scores.size()) +
               " items are longer than the " + std::to_string(source.dims().positions) +
               " positions of the model and lose their first tokens");
}

}  // namespace

TaskResults measure_tasks(const EvalModel& model, std::span<const Task> tasks,
                          const TaskOptions& options, const core::Progress& progress) {
  ESP_CHECK(!tasks.empty(), internal, "measure_tasks: no task");
  const auto source = checkpoint::Checkpoint::open(model.path);
  const Asked asked = ask(source, tasks);
  const std::vector<tasks::Likelihood> all =
      likelihoods(model, asked.trees, asked.n_requests, options, progress);
  TaskResults out;
  std::size_t request = 0, item_number = 0;
  double acc = 0, acc_norm = 0;
  int with_norm = 0;
  for (const Task& task : tasks) {
    std::vector<ItemScore> scores;
    for (const Item& item : task.items) {
      const std::size_t n = item.questions.size();
      scores.push_back(tasks::score_item(item, *task.layout, std::span(all).subspan(request, n)));
      scores.back().truncated = asked.truncated[item_number++];
      request += n;
    }
    note_truncated(task, scores, source);
    nlohmann::ordered_json summary = tasks::summary(task, scores);
    acc += summary.at("acc").get<double>();
    if (summary.contains("acc_norm")) {
      acc_norm += summary["acc_norm"].get<double>();
      ++with_norm;
    }
    out.items += static_cast<std::int64_t>(scores.size());
    out.lines += tasks::item_lines(task, scores);
    out.by_name[task.name] = std::move(summary);
  }
  out.accuracy = acc / static_cast<double>(tasks.size());
  if (with_norm > 0) out.accuracy_norm = acc_norm / with_norm;
  return out;
}

}  // namespace espalier::verify
