// SPDX-License-Identifier: Apache-2.0
// Layer sizes of DeciLM, which has two styles. The older ("deci") lists key-value heads in
// "num_key_value_heads_per_layer". The newer ("nemotron-nas") has "block_configs" with two numbers
// per layer. n_heads_in_group is the number of query heads per key-value head. ffn_mult gives the
// width of the FFN: int(2 ffn_mult hidden / 3), rounded up to a multiple of 256.
//
// Two keys of ours extend a block where these do not suffice. "num_attention_heads" is a number of
// query heads that differs from the model's. "intermediate_size" is the width itself.
#include <algorithm>

#include "checkpoint/family_config.h"

namespace espalier::checkpoint {
namespace {

using nlohmann::json;

constexpr std::int64_t kWidthStep = 256;

std::int64_t published_width(double ffn_mult, std::int64_t hidden) {
  const auto width = static_cast<std::int64_t>(2 * ffn_mult * static_cast<double>(hidden) / 3);
  return (width + kWidthStep - 1) / kWidthStep * kWidthStep;
}

// The keys that both kinds of block have. Returns false when the layer lacks the block.
bool parse_block(ConfigReader& block) {
  block.only("replace_with_linear", false);
  for (const char* key : {"sparsify", "window_length", "num_sink_tokens", "llama4", "mamba", "moe"})
    block.refuse(key, "only plain attention and plain FFNs are computed");
  for (const char* key : {"use_prefill_window_in_sink_attention", "unshifted_sink"})
    block.only(key, false);
  return !block.boolean("no_op", false);
}

void parse_attention(const json& object, const std::string& name, Problems& problems,
                     arch::LayerDims& layer, std::int64_t heads) {
  ConfigReader block(object, problems, name + ".");
  const bool there = parse_block(block);
  const std::int64_t own = block.size("num_attention_heads", kMaxWidth, heads);
  const std::int64_t shared = there ? block.size("n_heads_in_group", kMaxWidth) : 0;
  if (!there) block.refuse("n_heads_in_group", "the block is a no_op");
  block.refuse_unknown({});
  layer[arch::Axis::kv_groups] = layer[arch::Axis::q_per_kv] = 0;
  if (shared == 0) return;
  if (own % shared != 0)
    return problems.input("key \"", name, ".n_heads_in_group\" is ", shared,
                          ", which does not divide ", own, " heads");
  layer[arch::Axis::kv_groups] = own / shared;
  layer[arch::Axis::q_per_kv] = shared;
}

void parse_ffn(const json& object, const std::string& name, Problems& problems,
               arch::LayerDims& layer, std::int64_t hidden) {
  ConfigReader block(object, problems, name + ".");
  layer[arch::Axis::ffn] = 0;
  block.only("gated", true);
  block.only("hidden_act", "silu");
  if (parse_block(block)) {
    const std::int64_t width = block.size("intermediate_size", kMaxWidth, 0);
    const double multiplier =
        width > 0 ? block.positive("ffn_mult", 1.0) : block.positive("ffn_mult", std::nullopt);
    if (width == 0 && multiplier * static_cast<double>(hidden) > static_cast<double>(kMaxWidth))
      problems.input("key \"", name, ".ffn_mult\" is ", multiplier, ", too much for ", hidden,
                     " hidden values");
    else
      layer[arch::Axis::ffn] = width > 0 ? width : published_width(multiplier, hidden);
  } else {
    for (const char* key : {"ffn_mult", "intermediate_size"})
      block.refuse(key, "the block is a no_op");
  }
  block.refuse_unknown({});
}

void read_layers(ConfigReader& config, Problems& problems, arch::ModelDims& dims,
                 std::int64_t heads) {
  const json* groups = config.find("num_key_value_heads_per_layer");
  const json* blocks = config.find("block_configs");
  const auto lists_layers = [&](const char* key, const json& list) {
    if (list.is_array() && list.size() == dims.layers.size()) return true;
    problems.input("key \"", key, "\" is ", ConfigReader::shown(list), ", expected a list of ",
                   dims.layers.size(), ", one entry for each layer");
    return false;
  };
  if (groups != nullptr && blocks != nullptr)
    return problems.input(
        "keys \"block_configs\" and \"num_key_value_heads_per_layer\" are both there");
  if (groups != nullptr && lists_layers("num_key_value_heads_per_layer", *groups)) {
    for (std::size_t l = 0; l < dims.layers.size(); ++l) {
      const json& n = (*groups)[l];
      if (!n.is_number_integer() || n.get<std::int64_t>() < 1 || n.get<std::int64_t>() > heads ||
          heads % n.get<std::int64_t>() != 0)
        return problems.input("key \"num_key_value_heads_per_layer\": entry ", l, " is ",
                              ConfigReader::shown(n), ", expected a divisor of ", heads, " heads");
      dims.layers[l][arch::Axis::kv_groups] = n.get<std::int64_t>();
      dims.layers[l][arch::Axis::q_per_kv] = heads / n.get<std::int64_t>();
    }
  }
  if (blocks == nullptr || !lists_layers("block_configs", *blocks)) return;
  for (std::size_t l = 0; l < dims.layers.size(); ++l) {
    const std::string name = "block_configs[" + std::to_string(l) + "]";
    const json& entry = (*blocks)[l];
    if (!entry.is_object() || !entry.contains("attention") || !entry["attention"].is_object() ||
        !entry.contains("ffn") || !entry["ffn"].is_object())
      return problems.input("key \"", name, "\" is ", ConfigReader::shown(entry),
                            ", expected an object of \"attention\" and \"ffn\"");
    ConfigReader block(entry, problems, name + ".");
    block.refuse("parallel_blocks", "only one attention and one FFN in a layer are computed");
    block.refuse_unknown({"attention", "ffn"});
    parse_attention(entry["attention"], name + ".attention", problems, dims.layers[l], heads);
    parse_ffn(entry["ffn"], name + ".ffn", problems, dims.layers[l], dims.hidden);
    const std::int64_t own = dims.layers[l].heads();
    if (own * dims.head_dim > kMaxWidth)
      problems.input("key \"", name, ".attention.num_attention_heads\" (", own,
                     ") times \"head_dim\" (", dims.head_dim, ") exceed ", kMaxWidth);
  }
}

void write_layers(nlohmann::ordered_json& config, const arch::ModelDims& dims) {
  using Json = nlohmann::ordered_json;
  std::int64_t heads = 1;
  for (const arch::LayerDims& l : dims.layers) heads = std::max(heads, l.heads());
  Json blocks = Json::array();
  for (const arch::LayerDims& l : dims.layers) {
    const std::int64_t own = l.heads();
    Json attention{{"n_heads_in_group", own > 0 ? Json(l[arch::Axis::q_per_kv]) : Json(nullptr)},
                   {"no_op", own == 0},
                   {"replace_with_linear", false}};
    if (own > 0 && own != heads) attention["num_attention_heads"] = own;
    Json ffn{
        {"ffn_mult", l[arch::Axis::ffn] > 0 ? Json(3 * static_cast<double>(l[arch::Axis::ffn]) /
                                                   (2 * static_cast<double>(dims.hidden)))
                                            : Json(nullptr)},
        {"no_op", l[arch::Axis::ffn] == 0},
        {"replace_with_linear", false}};
    if (l[arch::Axis::ffn] > 0 &&
        published_width(ffn["ffn_mult"].get<double>(), dims.hidden) != l[arch::Axis::ffn])
      ffn["intermediate_size"] = l[arch::Axis::ffn];
    blocks.push_back({{"attention", attention}, {"ffn", ffn}});
  }
  config.erase("num_key_value_heads_per_layer");
  config["num_attention_heads"] = heads;
  config["num_key_value_heads"] = nullptr;
  config["intermediate_size"] = nullptr;
  config["block_configs"] = blocks;
}

}  // namespace

extern const FamilyConfig k_config_deci;
const FamilyConfig k_config_deci{.family = "deci",
                                 .read_layers = read_layers,
                                 .write_layers = write_layers,
                                 .layers_key = "block_configs"};

}  // namespace espalier::checkpoint
