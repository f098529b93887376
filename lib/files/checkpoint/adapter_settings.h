// SPDX-License-Identifier: Apache-2.0
// adapter_config.json of a LoRA adapter in PEFT's layout: by which number the product of its two
// matrices is multiplied before it is added to a weight.
#pragma once
#include <cstdint>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace espalier::checkpoint {

struct AdapterSettings {
  std::int64_t rank = 0;
  double alpha = 0;
  bool by_root = false;  // alpha / sqrt(rank) instead of alpha / rank
  // Regular expressions on the ends of module names, first match first, with the rank or alpha of
  // these modules.
  std::vector<std::pair<std::string, double>> ranks = {}, alphas = {};
  std::string base = {};  // the model that it was trained on, by the config; may be empty
  // The layers and the names of modules that it changes. Empty: the config lists none.
  std::set<std::int64_t> layers = {};
  std::vector<std::string> targets = {};

  std::int64_t rank_of(const std::string& module) const;
  bool targets_module(const std::string& module) const;
  // Of a module whose matrices have that rank.
  double scale_of(const std::string& module, std::int64_t module_rank) const;
};

// Error(unsupported) for adapters that are no plain LoRA, with the key. `text` is that of the file
// at `path`.
AdapterSettings parse_adapter_settings(const std::string& text, const std::string& path);

}  // namespace espalier::checkpoint
