// SPDX-License-Identifier: Apache-2.0
// The keys of PEFT's LoraConfig. Those of training say nothing about what is added.
#include "checkpoint/adapter_settings.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <regex>

#include "checkpoint/config_reader.h"
#include "core/error.h"
#include "core/notes.h"
#include "format/json_input.h"

namespace espalier::checkpoint {
namespace {

using Patterns = std::vector<std::pair<std::string, double>>;
using OrderedConfig = nlohmann::ordered_json;

constexpr std::int64_t kMaxRank = 1 << 16;
constexpr std::size_t kMaxPattern = 256;

// {"regular expression": number}, in the order of the file.
Patterns read_patterns(const OrderedConfig& config, const char* key, Problems& problems) {
  Patterns out;
  const auto found = config.find(key);
  if (found == config.end() || found->is_null()) return out;
  if (!found->is_object()) {
    problems.input("key \"", key, "\" is ", found->dump(), ", expected an object");
    return out;
  }
  for (const auto& [pattern, number] : found->items()) {
    if (!number.is_number() || !(number.get<double>() > 0) || pattern.size() > kMaxPattern) {
      problems.input("key \"", key, "\": \"", pattern.substr(0, kMaxPattern), "\" is ",
                     number.dump(), ", expected a positive number for a short pattern");
      continue;
    }
    try {
      static_cast<void>(std::regex(pattern));
      out.emplace_back(pattern, number.get<double>());
    } catch (const std::regex_error& error) {
      problems.input("key \"", key, "\": \"", pattern,
                     "\" is no regular expression: ", error.what());
    }
  }
  return out;
}

// The number of the first pattern that matches the end of the name, from a component on.
double matched(const Patterns& patterns, const std::string& module, double otherwise) {
  for (const auto& [pattern, number] : patterns)
    if (std::regex_match(module, std::regex("(.*\\.)?(" + pattern + ")"))) return number;
  return otherwise;
}

void check_kind(ConfigReader& config, Problems& problems) {
  const nlohmann::json* type = config.find("peft_type");
  if (type == nullptr || *type != "LORA")
    problems.unsupported("key \"peft_type\" is ",
                         type == nullptr ? "missing" : ConfigReader::shown(*type),
                         "; only \"LORA\" can be merged");
  config.refuse("use_dora",
                "DoRA scales the rows of the sum, which is not supported; merge the "
                "adapter with PEFT (merge_and_unload) first");
  for (const char* key : {"lora_bias", "use_qalora", "use_bdlora", "alora_invocation_tokens",
                          "trainable_token_indices", "layer_replication", "target_parameters",
                          "kasa_config", "velora_config", "monteclora_config"})
    config.refuse(key,
                  "this variant of LoRA is not supported; merge the adapter with PEFT "
                  "(merge_and_unload) first");
  const nlohmann::json* init = config.find("init_lora_weights");
  const bool kept = init == nullptr || init->is_boolean() || *init == "gaussian" ||
                    *init == "orthogonal" || *init == "eva";
  if (!kept)
    problems.unsupported(
        "key \"init_lora_weights\" is ", ConfigReader::shown(*init),
        ": such an adapter belongs to a base whose weights were changed before "
        "training; convert it with PEFT (path_initial_model_for_weight_conversion)");
}

// PEFT wraps models of other tasks, which have another head, in classes of their own.
void check_task(ConfigReader& config, Problems& problems) {
  const nlohmann::json* task = config.find("task_type");
  if (task == nullptr || *task == "CAUSAL_LM") return;
  if (*task == "FEATURE_EXTRACTION")
    return core::note(
        "adapter_config.json: task_type is FEATURE_EXTRACTION: the adapter was "
        "trained to embed texts, not to continue them; it is merged all the same");
  for (const char* other : {"SEQ_CLS", "SEQ_2_SEQ_LM", "TOKEN_CLS", "QUESTION_ANS"})
    if (*task == other)
      return problems.unsupported("key \"task_type\" is ", ConfigReader::shown(*task),
                                  ": the adapter is of a model with another head, which writes no "
                                  "text; only \"CAUSAL_LM\" can be merged");
  problems.input("key \"task_type\" is ", ConfigReader::shown(*task),
                 ", which is no task of PEFT; expected \"CAUSAL_LM\"");
}

// One index or a list of them. An empty list means all, as in PEFT.
std::set<std::int64_t> read_layers(ConfigReader& config, Problems& problems) {
  std::set<std::int64_t> out;
  const nlohmann::json* listed = config.find("layers_to_transform");
  if (listed == nullptr) return out;
  const nlohmann::json all = listed->is_array() ? *listed : nlohmann::json::array({*listed});
  for (const nlohmann::json& layer : all)
    if (layer.is_number_integer() && layer >= 0 && layer < kMaxLayers)
      out.insert(layer.get<std::int64_t>());
    else
      problems.input("key \"layers_to_transform\" is ", ConfigReader::shown(*listed),
                     ", expected the index of a layer, from 0, or a list of them");
  return out;
}

}  // namespace

bool AdapterSettings::targets_module(const std::string& module) const {
  const auto names = [&](const std::string& target) {
    return module == target || module.ends_with("." + target);
  };
  return targets.empty() || std::any_of(targets.begin(), targets.end(), names);
}

std::int64_t AdapterSettings::rank_of(const std::string& module) const {
  return static_cast<std::int64_t>(matched(ranks, module, static_cast<double>(rank)));
}

double AdapterSettings::scale_of(const std::string& module, std::int64_t module_rank) const {
  const auto r = static_cast<double>(module_rank);
  return matched(alphas, module, alpha) / (by_root ? std::sqrt(r) : r);
}

AdapterSettings parse_adapter_settings(const std::string& text, const std::string& path) {
  const auto ordered = format::parse_json<OrderedConfig>(text, path);
  ESP_CHECK(ordered.is_object(), input, path, ": expected a JSON object");
  const auto object = format::parse_json<nlohmann::json>(text, path);
  Problems problems(path);
  ConfigReader config(object, problems);
  check_kind(config, problems);
  problems.raise();  // the other keys are those of a plain LoRA
  AdapterSettings out;
  out.rank = config.size("r", kMaxRank);
  out.alpha = config.positive("lora_alpha", std::nullopt);
  out.by_root = config.boolean("use_rslora", false);
  for (const char* key : {"rank_pattern", "alpha_pattern"}) config.find(key);
  out.ranks = read_patterns(ordered, "rank_pattern", problems);
  out.alphas = read_patterns(ordered, "alpha_pattern", problems);
  if (const nlohmann::json* base = config.find("base_model_name_or_path");
      base != nullptr && base->is_string())
    out.base = base->get<std::string>();
  check_task(config, problems);
  out.layers = read_layers(config, problems);
  // A text is a regular expression, or stands for all.
  if (const nlohmann::json* targets = config.find("target_modules");
      targets != nullptr && targets->is_array())
    for (const nlohmann::json& target : *targets)
      if (target.is_string()) out.targets.push_back(target.get<std::string>());
  // How matrices lie in memory, which the tables say; what is trained, which the tensors say; and
  // how it is trained.
  config.refuse_unknown({"arrow_config",    "auto_mapping",        "bias",
                         "corda_config",    "ensure_weight_tying", "eva_config",
                         "exclude_modules", "fan_in_fan_out",      "inference_mode",
                         "layers_pattern",  "loftq_config",        "lora_dropout",
                         "lora_ga_config",  "megatron_config",     "megatron_core",
                         "modules_to_save", "peft_version",        "qalora_group_size",
                         "revision",        "runtime_config",      "unsloth_fixed"});
  problems.raise();
  return out;
}

}  // namespace espalier::checkpoint
