// SPDX-License-Identifier: Apache-2.0
// Averages are of losses, window by window, so that their exponential is a perplexity. What is
// printed of a difference is its exponential: how many times as perplexed.
#include "compare/results.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace espalier::compare {
namespace {

using Json = nlohmann::ordered_json;

double sum_of(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0);
}

std::vector<double> difference(const std::vector<double>& a, const std::vector<double>& b) {
  std::vector<double> out(a.size());
  for (std::size_t i = 0; i < a.size(); ++i) out[i] = a[i] - b[i];
  return out;
}

double loss_of(const Losses& losses) { return sum_of(losses.nll) / sum_of(losses.tokens); }

bool is_finite(const Losses& losses) { return std::isfinite(sum_of(losses.nll)); }

std::string as_group(const std::string& stage) { return stage == "given" ? "pruned" : stage; }

// The name in a cell of what a group calls `stage`.
const std::string& own_stage_name(const Cell& cell, const std::string& stage) {
  return stage == "pruned" ? cell.stages.front() : stage;
}

// The first line: what others add are traces of calls.
std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

template <typename T>
Json value_or_null(const std::optional<T>& v) {
  return v ? Json(*v) : Json(nullptr);
}

}  // namespace

Results::Results(const Comparison& comparison, const std::vector<CellOutcome>& outcomes)
    : comparison_(comparison), outcomes_(outcomes) {
  for (const CellOutcome& one : outcomes_) {
    if (one.cell.scheme == nullptr) {
      dense_ = &one;
      continue;
    }
    for (const std::string& stage : one.cell.stages) add_group(one, stage);
  }
  for (Group& group : groups_) average(group);
  find_ties();
}

void Results::add_group(const CellOutcome& one, const std::string& stage) {
  const std::string scheme = one.cell.scheme_name(), ratio = one.cell.ratio_name(),
                    name = as_group(stage);
  for (Group& group : groups_)
    if (group.scheme == scheme && group.ratio == ratio && group.stage == name) {
      group.cells.push_back(&one);
      return;
    }
  groups_.push_back({scheme, ratio, name, {&one}});
}

const Measured* Results::dense_on(const std::string& text) const {
  if (dense_ == nullptr || !dense_->outcome.finished) return nullptr;
  return &dense_->outcome.finished->stages.at("dense").texts.at(text);
}

const Bootstrap& Results::bootstrap(std::size_t windows) const {
  const auto it = bootstraps_.find(windows);
  if (it != bootstraps_.end()) return it->second;
  return bootstraps_.emplace(windows, Bootstrap(windows, comparison_.protocol.resamples))
      .first->second;
}

void Results::average(Group& group) const {
  for (const Text& text : comparison_.texts) {
    const Measured* dense = dense_on(text.name);
    Losses mean;
    double n = 0;
    for (const CellOutcome* one : group.cells) {
      if (!one->outcome.finished || dense == nullptr) continue;
      const Measured& m = one->outcome.finished->stages.at(own_stage_name(one->cell, group.stage))
                              .texts.at(text.name);
      if (m.tokens != dense->tokens) continue;  // windows of other tokens
      mean.tokens = m.tokens;
      mean.nll.resize(m.nll.size());
      mean.kl.resize(m.kl_sums.size());
      for (std::size_t w = 0; w < m.nll.size(); ++w) mean.nll[w] += m.nll[w];
      for (std::size_t w = 0; w < m.kl_sums.size(); ++w) mean.kl[w] += m.kl_sums[w];
      ++n;
    }
    if (!(n > 0)) continue;
    for (double& v : mean.nll) v /= n;
    for (double& v : mean.kl) v /= n;
    group.mean[text.name] = std::move(mean);
  }
}

// Those of one size and stage are judged on every text.
void Results::find_ties() {
  for (std::size_t g = 0; g < groups_.size(); ++g) {
    std::vector<Group*> rivals;
    bool is_first = true;
    for (std::size_t i = 0; i < groups_.size(); ++i)
      if (groups_[i].ratio == groups_[g].ratio && groups_[i].stage == groups_[g].stage) {
        is_first = is_first && i >= g;
        rivals.push_back(&groups_[i]);
      }
    if (!is_first || rivals.size() < 2 || groups_[g].ratio.empty()) continue;
    for (const Text& text : comparison_.texts) judge(rivals, text.name);
  }
}

void Results::judge(const std::vector<Group*>& rivals, const std::string& text) const {
  Group* best = nullptr;
  for (Group* one : rivals) {
    const auto it = one->mean.find(text);
    if (it == one->mean.end() || !is_finite(it->second)) continue;
    if (best == nullptr || loss_of(it->second) < loss_of(best->mean.at(text))) best = one;
  }
  if (best == nullptr) return;
  const Losses& least = best->mean.at(text);
  for (Group* one : rivals) {
    const auto it = one->mean.find(text);
    if (it == one->mean.end()) continue;
    bool ties = false;
    if (is_finite(it->second))
      ties = bootstrap(least.tokens.size())
                 .of_mean(difference(it->second.nll, least.nll), least.tokens)
                 .low <= 0;
    one->standing[text] = one == best ? "best" : ties ? "tie" : "behind";
  }
}

const Group* Results::group_of(const Cell& cell, const std::string& stage) const {
  for (const Group& group : groups_)
    if (group.scheme == cell.scheme_name() && group.ratio == cell.ratio_name() &&
        group.stage == as_group(stage))
      return &group;
  return nullptr;
}

Json Results::against_dense(const Losses& losses, const std::string& text) const {
  Json out{{"ratio", nullptr}, {"low", nullptr},    {"high", nullptr},
           {"kl", nullptr},    {"kl_low", nullptr}, {"kl_high", nullptr}};
  const Measured* dense = dense_on(text);
  if (dense == nullptr || losses.tokens != dense->tokens || !is_finite(losses)) return out;
  const Bootstrap& draws = bootstrap(losses.tokens.size());
  const std::vector<double> more = difference(losses.nll, dense->nll);
  const Interval interval = draws.of_mean(more, losses.tokens);
  out["ratio"] = std::exp(sum_of(more) / sum_of(losses.tokens));
  out["low"] = std::exp(interval.low);
  out["high"] = std::exp(interval.high);
  if (!comparison_.protocol.divergence || losses.kl.empty()) return out;
  const Interval kl = draws.of_mean(losses.kl, losses.tokens);
  out["kl"] = sum_of(losses.kl) / sum_of(losses.tokens);
  out["kl_low"] = kl.low;
  out["kl_high"] = kl.high;
  return out;
}

Json Results::row_of(const CellOutcome& one, const std::string& stage,
                     const std::string& text) const {
  const Cell& cell = one.cell;
  const StageNumbers& numbers = one.outcome.finished->stages.at(stage);
  const Measured& m = numbers.texts.at(text);
  const Json compared = against_dense({m.tokens, m.nll, m.kl_sums}, text);
  const Group* group = group_of(cell, stage);
  const Costs& costs = one.outcome.finished->costs;
  const auto decode = costs.decode.find(stage);
  return {{"scheme", cell.scheme_name()},
          {"ratio", cell.ratio_name()},
          {"seed", value_or_null(cell.seed)},
          {"stage", stage},
          {"text", text},
          {"parameters", numbers.parameters},
          {"bytes", numbers.bytes},
          {"perplexity", m.perplexity},
          {"perplexity_ratio", compared.at("ratio")},
          {"ratio_low", compared.at("low")},
          {"ratio_high", compared.at("high")},
          {"kl_mean", value_or_null(m.kl)},
          {"kl_low", m.kl ? compared.at("kl_low") : Json(nullptr)},
          {"kl_high", m.kl ? compared.at("kl_high") : Json(nullptr)},
          {"same_top1", value_or_null(m.same_top1)},
          {"tokens", static_cast<std::int64_t>(sum_of(m.tokens))},
          {"windows", m.tokens.size()},
          {"standing",
           group != nullptr && group->standing.contains(text) ? group->standing.at(text) : ""},
          {"error", ""},
          {"seconds", value_or_null(stage == "distilled" ? costs.distill_seconds : costs.seconds)},
          {"peak_rss_bytes",
           stage == "distilled" ? Json(nullptr) : value_or_null(costs.peak_rss_bytes)},
          {"decode_tokens_per_second",
           decode == costs.decode.end() ? Json(nullptr) : Json(decode->second)}};
}

Json Results::rows() const {
  Json out = Json::array();
  for (const CellOutcome& one : outcomes_) {
    if (!one.outcome.finished) {
      Json row{{"scheme", one.cell.scheme_name()},
               {"ratio", one.cell.ratio_name()},
               {"seed", value_or_null(one.cell.seed)},
               {"stage", one.cell.stages.front()},
               {"text", ""}};
      for (const char* key :
           {"parameters", "bytes", "perplexity", "perplexity_ratio", "ratio_low", "ratio_high",
            "kl_mean", "kl_low", "kl_high", "same_top1", "tokens", "windows"})
        row[key] = nullptr;
      row["standing"] = "";
      row["error"] = first_line(one.outcome.error);
      for (const char* key : {"seconds", "peak_rss_bytes", "decode_tokens_per_second"})
        row[key] = nullptr;
      out.push_back(std::move(row));
      continue;
    }
    for (const std::string& stage : one.cell.stages)
      for (const Text& text : comparison_.texts) out.push_back(row_of(one, stage, text.name));
  }
  return out;
}

Json Results::summary_of(const Group& group) const {
  Json out{{"scheme", group.scheme},
           {"ratio", group.ratio},
           {"stage", group.stage},
           {"seeds", group.cells.size()},
           {"parameters", nullptr},
           {"bytes", nullptr},
           {"decode_tokens_per_second", nullptr},
           {"error", ""},
           {"texts", Json::object()}};
  std::map<std::string, std::pair<double, int>> same;  // of the same likeliest token
  for (const CellOutcome* one : group.cells) {
    if (!one->outcome.finished) {
      out["error"] = first_line(one->outcome.error);
      continue;
    }
    const std::string& stage = own_stage_name(one->cell, group.stage);
    const StageNumbers& numbers = one->outcome.finished->stages.at(stage);
    out["parameters"] = numbers.parameters;
    out["bytes"] = numbers.bytes;
    const auto decode = one->outcome.finished->costs.decode.find(stage);
    if (decode != one->outcome.finished->costs.decode.end())
      out["decode_tokens_per_second"] = decode->second;
    for (const auto& [text, m] : numbers.texts)
      if (m.same_top1) {
        same[text].first += *m.same_top1;
        ++same[text].second;
      }
  }
  for (const auto& [text, losses] : group.mean) {
    Json measured{{"perplexity", std::exp(loss_of(losses))}};
    measured.update(against_dense(losses, text));
    measured["same_top1"] =
        same.contains(text) ? Json(same[text].first / same[text].second) : Json(nullptr);
    measured["standing"] = group.standing.contains(text) ? group.standing.at(text) : "";
    out["texts"][text] = std::move(measured);
  }
  return out;
}

Json Results::summary() const {
  Json out = Json::array();
  for (const Group& group : groups_) out.push_back(summary_of(group));
  // By size as in the file, and of one size the better first.
  const auto place = [&](const Json& row) {
    for (std::size_t r = 0; r < comparison_.ratios.size(); ++r)
      if (comparison_.ratios[r].name == row.at("ratio").get<std::string>()) return r;
    return comparison_.ratios.size();
  };
  const std::string& first = comparison_.texts.front().name;
  const auto loss = [&](const Json& row) {
    const Json& texts = row.at("texts");
    return texts.contains(first) ? texts.at(first).at("perplexity").get<double>() : HUGE_VAL;
  };
  auto& sorted = out.get_ref<Json::array_t&>();
  std::stable_sort(sorted.begin(), sorted.end(), [&](const Json& a, const Json& b) {
    return std::pair(place(a), loss(a)) < std::pair(place(b), loss(b));
  });
  return out;
}

Json Results::dense() const {
  Json out{{"parameters", 0}, {"bytes", 0}, {"perplexity", Json::object()}};
  if (dense_ == nullptr || !dense_->outcome.finished) return out;
  const StageNumbers& numbers = dense_->outcome.finished->stages.at("dense");
  out["parameters"] = numbers.parameters;
  out["bytes"] = numbers.bytes;
  for (const auto& [text, m] : numbers.texts) out["perplexity"][text] = m.perplexity;
  return out;
}

Json Results::costs() const {
  Json out = Json::array();
  for (const Scheme& scheme : comparison_.schemes) {
    std::vector<double> seconds, distill;
    std::int64_t peak = 0;
    for (const CellOutcome& one : outcomes_) {
      if (one.cell.scheme != &scheme || !one.outcome.finished) continue;
      const Costs& costs = one.outcome.finished->costs;
      if (costs.seconds) seconds.push_back(*costs.seconds);
      if (costs.distill_seconds) distill.push_back(*costs.distill_seconds);
      peak = std::max(peak, costs.peak_rss_bytes.value_or(0));
    }
    const auto mean = [](const std::vector<double>& values) {
      return values.empty() ? Json(nullptr)
                            : Json(sum_of(values) / static_cast<double>(values.size()));
    };
    out.push_back({{"scheme", scheme.name},
                   {"seconds", mean(seconds)},
                   {"score_seconds", nullptr},
                   {"distill_seconds", mean(distill)},
                   {"peak_rss_bytes", peak > 0 ? Json(peak) : Json(nullptr)}});
  }
  return out;
}

}  // namespace espalier::compare
