// SPDX-License-Identifier: Apache-2.0
// One self-contained HTML page about a run (no network). It shows the inputs, sizes before and
// after, the loss curve, KL per token, and importance per layer. It also shows size against
// perplexity with the baselines, and the gates. Chart.js, inlined, draws the charts.
#pragma once
#include <nlohmann/json.hpp>
#include <string>

namespace espalier::report {

// The JSON of `data`:
//
//   {"title", "recipe" (text), "card" (device card, with "baselines"),
//    "stages": [{"name", "kind", "status", "metrics", "options", "seconds"}],
//    "loss": [{"step", "tokens", "loss", and each term of it by its name}],
//    "kl_histogram": {"edges": [..], "counts": [..]},
//    "importance": {"block_influence": [..], "kept_layers": [..],
//                   "ffn_before": [..], "ffn_after": [..]}}
//
// The page omits absent parts and invents nothing.
std::string report_html(const nlohmann::ordered_json& data);

}  // namespace espalier::report
