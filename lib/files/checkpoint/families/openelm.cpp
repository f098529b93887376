// SPDX-License-Identifier: Apache-2.0
// Layer sizes of OpenELM. Its config.json lists heads for every layer, and multipliers m that give
// the width of the FFN. The width is m * model_dim, rounded to the nearest multiple of
// ffn_dim_divisor, at least one multiple. It is one multiple more where that is less than nine
// tenths of m * model_dim. A divisor of 1 expresses any width.
//
// "rms_norm_eps" is a key of ours. The published models have 1e-6.
#include <algorithm>
#include <cmath>

#include "checkpoint/family_config.h"

namespace espalier::checkpoint {
namespace {

using nlohmann::json;

std::int64_t published_width(double multiplier, std::int64_t hidden, std::int64_t divisor) {
  const double wanted = multiplier * static_cast<double>(hidden);
  const std::int64_t width =
      std::max(divisor, static_cast<std::int64_t>(wanted + static_cast<double>(divisor) / 2) /
                            divisor * divisor);
  return static_cast<double>(width) < 0.9 * wanted ? width + divisor : width;
}

// A list with one number for each layer.
std::vector<double> listed(ConfigReader& config, Problems& problems, const char* key,
                           std::int64_t layers, double most, bool whole) {
  const json* list = config.find(key);
  if (list == nullptr || !list->is_array() || static_cast<std::int64_t>(list->size()) != layers) {
    problems.input("key \"", key, "\" is ",
                   list == nullptr ? std::string("missing") : ConfigReader::shown(*list),
                   ", expected a list of ", layers, " numbers, one for each layer");
    return {};
  }
  std::vector<double> out;
  for (const json& entry : *list) {
    const double v = entry.is_number() ? entry.get<double>() : 0;
    if (!(v > 0) || v > most || (whole && v != std::floor(v))) {
      problems.input("key \"", key, "\": entry ", out.size(), " is ", ConfigReader::shown(entry),
                     ", expected a positive ", whole ? "whole number" : "number", " of at most ",
                     most);
      return {};
    }
    out.push_back(v);
  }
  return out;
}

arch::ModelDims read(ConfigReader& config, Problems& problems, const arch::Arch& arch) {
  arch::ModelDims dims;
  dims.vocab = config.size("vocab_size", kMaxVocab);
  dims.hidden = config.size("model_dim", kMaxWidth);
  dims.head_dim = config.size("head_dim", kMaxWidth, arch.defaults.head_dim);
  if (dims.head_dim % 2 != 0)
    problems.input("key \"head_dim\" (", dims.head_dim, ") must be even for rotary embedding");
  dims.positions = config.size("max_context_length", kMaxPositions, arch.defaults.positions);
  dims.norm_eps = config.positive("rms_norm_eps", arch.defaults.norm_eps);
  dims.rope_theta = config.positive("rope_freq_constant", arch.defaults.rope_theta);
  dims.tied = config.boolean("share_input_output_layers", arch.defaults.tied);
  config.only("tie_word_embeddings", dims.tied);
  config.only("ffn_with_glu", true);
  config.only("activation_fn_name", "swish");
  config.only("normalization_layer_name", "rms_norm");
  config.only("normalize_qk_projections", true);
  for (const char* key : {"num_gqa_groups", "qkv_multipliers", "rope_max_length"})
    config.find(key);  // the lists and the longest text say it
  const std::int64_t layers = config.size("num_transformer_layers", kMaxLayers),
                     divisor = config.size("ffn_dim_divisor", kMaxWidth, 256);
  if (layers == 0) return dims;
  const std::vector<double> heads =
      listed(config, problems, "num_query_heads", layers, kMaxWidth, true);
  const std::vector<double> groups =
      listed(config, problems, "num_kv_heads", layers, kMaxWidth, true);
  const std::vector<double> multipliers =
      listed(config, problems, "ffn_multipliers", layers, 1024, false);
  if (!problems.empty()) return dims;
  for (std::size_t l = 0; l < heads.size(); ++l) {
    const auto n = static_cast<std::int64_t>(heads[l]), k = static_cast<std::int64_t>(groups[l]);
    if (n % k != 0)
      problems.input("layer ", l, ": \"num_query_heads\" (", n,
                     ") is not a multiple of \"num_kv_heads\" (", k, ")");
    const std::int64_t ffn = published_width(multipliers[l], dims.hidden, divisor);
    if (n * dims.head_dim > kMaxWidth || ffn > kMaxWidth)
      problems.input("layer ", l, ": heads or FFN exceed ", kMaxWidth, " values");
    dims.layers.push_back(
        {.sizes = {
             {arch::Axis::kv_groups, k}, {arch::Axis::q_per_kv, n / k}, {arch::Axis::ffn, ffn}}});
  }
  return dims;
}

void write(nlohmann::ordered_json& config, const arch::ModelDims& dims) {
  using Json = nlohmann::ordered_json;
  Json heads = Json::array(), groups = Json::array(), multipliers = Json::array();
  const Json& divisor =
      config.contains("ffn_dim_divisor") ? config["ffn_dim_divisor"] : Json(nullptr);
  const Json& before =
      config.contains("ffn_multipliers") ? config["ffn_multipliers"] : Json(nullptr);
  // The source's own multipliers still give these widths.
  bool kept =
      divisor.is_number_integer() && before.is_array() && before.size() == dims.layers.size();
  for (std::size_t l = 0; l < dims.layers.size(); ++l) {
    const arch::LayerDims& layer = dims.layers[l];
    heads.push_back(layer.heads());
    groups.push_back(layer[arch::Axis::kv_groups]);
    multipliers.push_back(static_cast<double>(layer[arch::Axis::ffn]) /
                          static_cast<double>(dims.hidden));
    kept = kept && before[l].is_number() &&
           published_width(before[l].get<double>(), dims.hidden, divisor.get<std::int64_t>()) ==
               layer[arch::Axis::ffn];
  }
  if (!kept) {
    config["ffn_multipliers"] = multipliers;
    config["ffn_dim_divisor"] = 1;
  }
  config["num_query_heads"] = heads;
  config["num_kv_heads"] = groups;
  config["share_input_output_layers"] = dims.tied;
  config["rope_freq_constant"] = dims.rope_theta;
  config["ffn_with_glu"] = true;
  config["activation_fn_name"] = "swish";
  config["normalization_layer_name"] = "rms_norm";
  config["normalize_qk_projections"] = true;
}

}  // namespace

extern const FamilyConfig k_config_openelm;
const FamilyConfig k_config_openelm{.family = "openelm", .read = read, .write = write};

}  // namespace espalier::checkpoint
