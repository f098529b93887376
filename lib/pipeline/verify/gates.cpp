// SPDX-License-Identifier: Apache-2.0
// Gates: "<value>_max" or "<value>_min" over the numbers of a card.
#include "verify/gates.h"
#include "core/error.h"
#include "core/units.h"
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

}  // namespace

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
    const auto& names = gate_names();
    ESP_CHECK(std::find(names.begin(), names.end(), name) != names.end(), input, "gate '", name,
              "' is not known; did you mean '",
              core::nearest_name(name, names.data(), names.size()), "'?");
    ESP_CHECK(limit.is_number(), input, "gate '", name, "': ", limit.dump(),
              " is no number; give it one or leave the gate out");
    const std::string value = name.substr(0, name.size() - 4);
    const bool known = card.contains(value) && card[value].is_number();
    const bool is_max = name.substr(name.size() - 4) == "_max";
    const double v = known ? card[value].get<double>() : 0;
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
