// SPDX-License-Identifier: Apache-2.0
// Gates: "<value>_max" or "<value>_min" over the numbers of a card, and "task.<name>.<metric>_max"
// or
// "_min" over those of its tasks.
#include "verify/gates.h"

#include <algorithm>
#include <optional>

#include "core/error.h"
#include "core/units.h"
#include "tasks/score.h"
#include "verify/verify.h"

namespace espalier::verify {
namespace {

constexpr const char* kValues[] = {"perplexity",
                                   "perplexity_ratio",
                                   "kl_mean",
                                   "kl_p99",
                                   "same_top1",
                                   "file_bytes",
                                   "bits_per_weight",
                                   "parameters",
                                   "parameters_ratio",
                                   "prefill_tokens_per_second",
                                   "decode_tokens_per_second",
                                   "peak_rss_bytes",
                                   "kv_bytes_per_token"};

constexpr std::string_view kTask = "task.";

struct TaskGate {
  std::string task, metric;
};
// Of "task.<name>.<metric>_min"; a name may have dots. None: it is another gate.
std::optional<TaskGate> task_gate(const std::string& gate) {
  const std::size_t dot = gate.rfind('.');
  if (!gate.starts_with(kTask) || dot <= kTask.size()) return std::nullopt;
  for (const std::string& metric : tasks::gate_metrics())
    for (const char* side : {"_max", "_min"})
      if (gate.substr(dot + 1) == metric + side)
        return TaskGate{gate.substr(kTask.size(), dot - kTask.size()), metric};
  return std::nullopt;
}

// Null where the card has no such number.
nlohmann::ordered_json value_of(const std::string& gate, const nlohmann::ordered_json& card) {
  const std::optional<TaskGate> of = task_gate(gate);
  const nlohmann::ordered_json* from = &card;
  if (of) {
    if (!card.contains("tasks") || !card["tasks"].contains(of->task)) return nullptr;
    from = &card["tasks"][of->task];
  }
  const std::string key = of ? of->metric : gate.substr(0, gate.size() - 4);
  if (!from->contains(key) || !from->at(key).is_number()) return nullptr;
  return from->at(key);
}

void require_known_gate(const std::string& gate) {
  std::vector<std::string> names = gate_names();
  if (task_gate(gate) || std::find(names.begin(), names.end(), gate) != names.end()) return;
  const std::vector<std::string>& patterns = task_gate_patterns();
  names.insert(names.end(), patterns.begin(), patterns.end());
  core::fail(core::ErrorKind::input, "gate '", gate, "' is not known; did you mean '",
             core::nearest_name(gate, names.data(), names.size()), "'?");
}

}  // namespace

const std::vector<std::string>& task_gate_patterns() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> out;
    for (const std::string& metric : tasks::gate_metrics())
      for (const char* side : {"_max", "_min"})
        out.push_back(std::string(kTask) + "NAME." + metric + side);
    return out;
  }();
  return names;
}

void require_tasks_of_gates(const std::map<std::string, double>& gates,
                            const std::vector<std::string>& names) {
  for (const auto& [gate, limit] : gates) {
    const std::optional<TaskGate> of = task_gate(gate);
    if (!of || std::find(names.begin(), names.end(), of->task) != names.end()) continue;
    std::string known;
    for (const std::string& name : names) known += (known.empty() ? "" : ", ") + name;
    core::fail(core::ErrorKind::usage, "gate '", gate, "': there is no task '", of->task, "'; ",
               known.empty() ? "no task is measured" : "the tasks are " + known);
  }
}

const std::vector<std::string>& gate_names() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> out;
    for (const char* value : kValues)
      for (const char* side : {"_max", "_min"}) out.emplace_back(value).append(side);
    out.emplace_back("beats_baselines_min");
    return out;
  }();
  return names;
}

nlohmann::ordered_json check_gates(const nlohmann::json& gates, const nlohmann::ordered_json& card,
                                   bool& passed) {
  nlohmann::ordered_json out = nlohmann::ordered_json::array();
  for (const auto& [name, limit] : gates.items()) {
    require_known_gate(name);
    ESP_CHECK(limit.is_number(), input, "gate '", name, "': ", limit.dump(),
              " is no number; give it one or leave the gate out");
    const nlohmann::ordered_json value = value_of(name, card);
    const bool known = value.is_number();
    const bool is_max = name.ends_with("_max");
    const double v = known ? value.get<double>() : 0;
    const bool ok = known && (is_max ? v <= limit.get<double>() : v >= limit.get<double>());
    passed = passed && ok;
    out.push_back({{"gate", name},
                   {"limit", limit},
                   {"value", known ? nlohmann::ordered_json(v) : nlohmann::ordered_json(nullptr)},
                   {"passed", ok}});
  }
  return out;
}

}  // namespace espalier::verify
