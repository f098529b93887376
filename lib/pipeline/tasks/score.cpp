// SPDX-License-Identifier: Apache-2.0
// Metrics of items and of tasks.
#include "tasks/score.h"

#include <cmath>

namespace espalier::tasks {
namespace {

using Json = nlohmann::ordered_json;

// The first of the best questions, with log-probabilities divided by a length.
template <typename Length>
std::size_t best(const Item& item, std::span<const Likelihood> likelihoods, Length length) {
  std::size_t out = 0;
  double largest = 0;
  for (std::size_t i = 0; i < likelihoods.size(); ++i) {
    const double value =
        likelihoods[i].log_probability / static_cast<double>(length(item.questions[i]));
    if (i > 0 && !(value > largest)) continue;
    out = i;
    largest = value;
  }
  return out;
}

void add_share(Json& out, const char* key, std::span<const ItemScore> scores,
               bool ItemScore::* metric) {
  const double n = static_cast<double>(scores.size());
  double right = 0;
  for (const ItemScore& s : scores) right += s.*metric;
  const double mean = right / n;
  out[key] = mean;
  const std::string stderr_key = std::string(key) + "_stderr";
  if (scores.size() < 2) {
    out[stderr_key] = nullptr;
    return;
  }
  double squares = 0;
  for (const ItemScore& s : scores) squares += std::pow((s.*metric ? 1.0 : 0.0) - mean, 2);
  out[stderr_key] = std::sqrt(squares / (n - 1)) / std::sqrt(n);
}

}  // namespace

ItemScore score_item(const Item& item, const Layout& layout,
                     std::span<const Likelihood> likelihoods) {
  ItemScore out{.questions = {likelihoods.begin(), likelihoods.end()}};
  if (layout.cloze) {
    out.acc = likelihoods.front().greedy;
    return out;
  }
  const auto is_best = [&](auto length) { return best(item, likelihoods, length) == item.answer; };
  out.acc = is_best([](const Question&) { return 1; });
  out.acc_norm = is_best([](const Question& q) { return q.characters; });
  out.acc_bytes = is_best([](const Question& q) { return q.bytes; });
  return out;
}

Json summary(const Task& task, std::span<const ItemScore> scores) {
  Json out{{"layout", task.layout->name}, {"items", scores.size()}};
  add_share(out, "acc", scores, &ItemScore::acc);
  if (task.layout->cloze) {
    double sum = 0;
    for (const ItemScore& s : scores) sum += s.questions.front().log_probability;
    out["perplexity"] = std::exp(-sum / static_cast<double>(scores.size()));
  } else {
    add_share(out, "acc_norm", scores, &ItemScore::acc_norm);
    add_share(out, "acc_bytes", scores, &ItemScore::acc_bytes);
  }
  std::int64_t truncated = 0;
  for (const ItemScore& s : scores) truncated += s.truncated;
  out["truncated"] = truncated;
  return out;
}

std::string item_lines(const Task& task, std::span<const ItemScore> scores) {
  std::string out;
  for (std::size_t i = 0; i < scores.size(); ++i) {
    const ItemScore& s = scores[i];
    Json line{{"task", task.name}, {"line", task.items[i].line}};
    if (!task.layout->cloze) line["answer"] = task.items[i].answer;
    for (const Likelihood& q : s.questions) {
      line["log_likelihoods"].push_back(q.log_probability);
      line["greedy"].push_back(q.greedy);
    }
    line["acc"] = static_cast<int>(s.acc);
    if (!task.layout->cloze) {
      line["acc_norm"] = static_cast<int>(s.acc_norm);
      line["acc_bytes"] = static_cast<int>(s.acc_bytes);
    }
    if (s.truncated) line["truncated"] = true;
    out += line.dump() + "\n";
  }
  return out;
}

const std::vector<std::string>& gate_metrics() {
  static const std::vector<std::string> names{"acc", "acc_norm", "acc_bytes", "perplexity"};
  return names;
}

}  // namespace espalier::tasks
