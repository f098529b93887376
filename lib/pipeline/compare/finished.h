// SPDX-License-Identifier: Apache-2.0
// What is known of a cell once it is finished, as its cell.json keeps it. Internal to
// lib/pipeline/compare.
#pragma once
#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

namespace espalier::compare {

// On one text. The losses are by window.
struct Measured {
  double perplexity = 0;
  std::optional<double> kl, same_top1;  // only where it was compared with dense
  std::vector<double> tokens, nll, kl_sums;
};
struct StageNumbers {
  std::int64_t parameters = 0, bytes = 0;
  std::map<std::string, Measured> texts = {};  // by name
};
struct Costs {
  std::optional<double> seconds, distill_seconds;  // of the scheme's own stage; of the distillation
  std::optional<std::int64_t> peak_rss_bytes;      // of this process in the scheme's own stage
  std::map<std::string, double> decode = {};       // tokens a second, by stage
};
struct Finished {
  std::string identity;
  std::map<std::string, StageNumbers> stages = {};  // by name
  Costs costs = {};
};

nlohmann::ordered_json to_json(const Finished& finished);
// Error(input) with the path when it is broken.
Finished finished_from(const std::string& path);

// windows.csv and eval.json of an evaluation in `folder`.
Measured read_measured(const std::string& folder);

}  // namespace espalier::compare
