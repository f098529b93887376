// SPDX-License-Identifier: Apache-2.0
// One self-contained HTML page of a run (no network): what went in, sizes before and after, the
// loss curve, KL per token, importance per layer, size against perplexity with the baselines,
// gates. Charts by Chart.js, inlined.
#pragma once
#include <nlohmann/json.hpp>
#include <string>

namespace espalier::report {

// `data`: {"title", "recipe" (text), "card" (device card, with "baselines"), "stages": [{"name",
// "kind", "status", "metrics", "options", "seconds"}],
//  "loss": [{"step", "tokens", "loss", "kl", "ce"}], "kl_histogram": {"edges": [..], "counts":
//  [..]}, "importance": {"block_influence": [..], "kept_layers": [..], "ffn_before": [..],
//  "ffn_after": [..]}}. Absent parts are left out of the page; nothing is invented.
std::string report_html(const nlohmann::ordered_json& data);

}  // namespace espalier::report
