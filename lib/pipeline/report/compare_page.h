// SPDX-License-Identifier: Apache-2.0
// A comparison of schemes for people: one self-contained HTML page, and Markdown of its tables.
#pragma once
#include <nlohmann/json.hpp>
#include <string>

namespace espalier::report {

// The JSON of `data`:
//
//   {"title", "command", "recipe" (text), "model", "about": [sentences],
//    "texts": [names], "dense": {"parameters", "bytes", "perplexity": {text: value}},
//    "summary": [{"scheme", "ratio", "stage", "seeds", "parameters", "bytes",
//                 "decode_tokens_per_second" (or null), "error" (or "no error": empty),
//                 "texts": {name: {"perplexity", "ratio", "low", "high", "lowest", "highest",
//                                  "kl", "same_top1", "standing": "best" | "tie" | "behind" | ""}}}],
//    "importance": [{"axis", "names": [..], "layers": [[one for each name] ..]}],
//    "correlation": [{"axis", "names": [..], "values": [[..] ..]}],
//    "costs": [{"scheme", "seconds", "score_seconds", "distill_seconds", "peak_rss_bytes"}]}
//
// The page omits absent parts and invents nothing.
std::string compare_html(const nlohmann::ordered_json& data);
std::string compare_markdown(const nlohmann::ordered_json& data);

}  // namespace espalier::report
