// SPDX-License-Identifier: Apache-2.0
// Reads the keys of rotary embedding in both key styles.
#include "checkpoint/config_rope.h"

namespace espalier::checkpoint {
namespace {

using nlohmann::json;

// What the keys of rotary embedding say, wherever they stand.
struct RopeKeys {
  std::optional<double> theta, partial;            // partial_rotary_factor
  std::optional<double> factor, attention_factor;  // LongRoPE
  // LongRoPE, inside rope_scaling.
  std::optional<std::int64_t> original_positions;
};

std::vector<float> parse_factors(ConfigReader& rope, const std::string& name,
                                 const std::string& key, Problems& problems) {
  const json* list = rope.find(name);
  std::vector<float> out;
  bool sound = list != nullptr && list->is_array() && !list->empty() &&
               list->size() <= static_cast<std::size_t>(kMaxWidth);
  for (std::size_t i = 0; sound && i < list->size(); ++i) {
    sound =
        (*list)[i].is_number() && (*list)[i].get<double>() > 0 && (*list)[i].get<double>() < 1e30;
    if (sound) out.push_back((*list)[i].get<float>());
  }
  if (!sound)
    problems.input("key \"", key, ".", name, "\" is ",
                   list != nullptr ? ConfigReader::shown(*list) : "missing",
                   ", expected a list of positive numbers");
  return out;
}

// These types of scaling compute the same as none with this factor.
bool scales_by_one(const std::string& kind, ConfigReader& rope) {
  const json* factor = rope.find("factor");
  const bool known = kind == "linear" || kind == "dynamic" || kind == "yarn";
  const bool scores = rope.find("attention_factor") != nullptr || rope.find("mscale") != nullptr;
  return known && !scores && factor != nullptr && *factor == 1;
}

// Reads "rope_scaling" (transformers 4) or "rope_parameters" (transformers 5).
void parse_rope_object(const json& object, const std::string& key, Problems& problems,
                       const arch::Arch& arch, arch::ModelDims& dims, RopeKeys& keys) {
  if (!object.is_object()) {
    problems.input("key \"", key, "\" is ", ConfigReader::shown(object), ", expected an object");
    return;
  }
  ConfigReader rope(object, problems, key + ".");
  const json* type = rope.find("rope_type");
  const json* old_type = rope.find("type");
  if (type == nullptr) type = old_type;
  std::string kind = type == nullptr     ? "default"
                     : type->is_string() ? type->get<std::string>()
                                         : ConfigReader::shown(*type);
  // Positions in three dimensions are three times the same for text.
  for (const char* name : {"mrope_section", "mrope_interleaved"}) rope.find(name);
  if (kind == "mrope") kind = "default";
  if (rope.find("rope_theta") != nullptr) keys.theta = rope.positive("rope_theta", std::nullopt);
  if (arch.defaults.partial_rotary == 0)
    rope.only("partial_rotary_factor", 1.0);
  else if (rope.find("partial_rotary_factor") != nullptr)
    keys.partial = rope.positive("partial_rotary_factor", std::nullopt);
  if (kind == "llama3" && !arch.long_rope) {
    dims.rope_scaling.factor = rope.positive("factor", std::nullopt);
    dims.rope_scaling.low_freq_factor = rope.positive("low_freq_factor", std::nullopt);
    dims.rope_scaling.high_freq_factor = rope.positive("high_freq_factor", std::nullopt);
    dims.rope_scaling.original_positions =
        rope.size("original_max_position_embeddings", kMaxPositions);
    if (dims.rope_scaling.high_freq_factor <= dims.rope_scaling.low_freq_factor)
      problems.input("key \"", key, ".high_freq_factor\" must be larger than low_freq_factor");
  } else if (arch.long_rope && (kind == "longrope" || kind == "su")) {
    dims.long_rope.short_factors = parse_factors(rope, "short_factor", key, problems);
    dims.long_rope.long_factors = parse_factors(rope, "long_factor", key, problems);
    if (rope.find("factor") != nullptr) keys.factor = rope.positive("factor", std::nullopt);
    if (rope.find("attention_factor") != nullptr)
      keys.attention_factor = rope.positive("attention_factor", std::nullopt);
    if (rope.find("original_max_position_embeddings") != nullptr)
      keys.original_positions = rope.size("original_max_position_embeddings", kMaxPositions);
  } else if (kind == "linear" && !arch.long_rope) {
    dims.rope_linear = rope.positive("factor", std::nullopt);
    if (dims.rope_linear >= 1e6)
      problems.input("key \"", key, ".factor\" is ", dims.rope_linear, ", expected less than 1e6");
  } else if (kind != "default" && !scales_by_one(kind, rope)) {
    problems.unsupported("key \"", key, ".rope_type\" is \"", kind, "\"; supported are \"default\"",
                         arch.long_rope ? " and \"longrope\"" : ", \"llama3\" and \"linear\"");
    return;  // the other keys belong to that type
  } else if (kind != "default") {
    return;
  } else if (rope.find("factor") != nullptr) {
    rope.only("factor", 1);
  }
  // Families with LongRoPE state its context for every type.
  rope.refuse_unknown(arch.long_rope ? std::set<std::string>{"original_max_position_embeddings"}
                                     : std::set<std::string>{});
}

// Sets the rotated share of a head, and LongRoPE's context and factor, once all keys are known.
void finish_rope(ConfigReader& config, Problems& problems, const arch::Arch& arch,
                 arch::ModelDims& dims, const RopeKeys& keys) {
  if (arch.defaults.partial_rotary > 0 && dims.head_dim > 0) {
    const double share = keys.partial.value_or(arch.defaults.partial_rotary);
    const auto rotated = static_cast<std::int64_t>(static_cast<double>(dims.head_dim) * share);
    if (share > 1 || rotated < 2 || rotated % 2 != 0)
      problems.input("key \"partial_rotary_factor\" is ", share, ": ", rotated, " of ",
                     dims.head_dim, " values of a head, expected an even number of at least 2");
    dims.rotary_dim = rotated == dims.head_dim ? 0 : rotated;
  }
  if (!arch.long_rope) return;
  const std::int64_t outer = config.size("original_max_position_embeddings", kMaxPositions, 0);
  if (!dims.long_rope.used()) return;
  if (outer > 0 && keys.original_positions && outer != *keys.original_positions)
    problems.input("keys \"original_max_position_embeddings\" (", outer,
                   ") and \"rope_scaling.original_max_position_embeddings\" (",
                   *keys.original_positions, ") contradict each other");
  arch::LongRope& r = dims.long_rope;
  r.original_positions =
      outer > 0 ? outer : keys.original_positions.value_or(arch.defaults.positions);
  const double factor = keys.factor.value_or(static_cast<double>(dims.positions) /
                                             static_cast<double>(r.original_positions));
  r.attention_factor = keys.attention_factor.value_or(
      arch::long_rope_attention_factor(factor, r.original_positions));
  const auto expected = static_cast<std::size_t>(dims.rotated() / 2);
  if (r.short_factors.size() != expected || r.long_factors.size() != expected)
    problems.input("keys \"short_factor\" and \"long_factor\" have ", r.short_factors.size(),
                   " and ", r.long_factors.size(), " entries, expected ", expected,
                   ", half of the values turned");
}

}  // namespace

void parse_rope(ConfigReader& config, Problems& problems, const arch::Arch& arch,
                arch::ModelDims& dims) {
  if (arch::learned_positions(arch)) {
    for (arch::LayerDims& l : dims.layers) l.rope = false;
    return;
  }
  RopeKeys keys;
  if (config.find("rope_theta") != nullptr) keys.theta = config.positive("rope_theta", 10000.0);
  if (arch.defaults.partial_rotary == 0)
    config.only("partial_rotary_factor", 1.0);
  else if (config.find("partial_rotary_factor") != nullptr)
    keys.partial = config.positive("partial_rotary_factor", std::nullopt);
  const std::optional<double> outer_partial = keys.partial;
  if (const json* scaling = config.find(std::string(arch.keys.rope_scaling));
      scaling != nullptr && *scaling != false)
    parse_rope_object(*scaling, "rope_scaling", problems, arch, dims, keys);
  const bool has_local = arch.defaults.local_rope_theta > 0;
  if (has_local)
    dims.local_rope_theta = config.positive("rope_local_base_freq", arch.defaults.local_rope_theta);
  const json* parameters = config.find("rope_parameters");
  if (parameters != nullptr && has_local && parameters->is_object() &&
      (parameters->contains("full_attention") || parameters->contains("sliding_attention"))) {
    ConfigReader kinds(*parameters, problems, "rope_parameters.");
    if (const json* global = kinds.find("full_attention"))
      parse_rope_object(*global, "rope_parameters.full_attention", problems, arch, dims, keys);
    if (const json* local = kinds.find("sliding_attention")) {
      arch::ModelDims ignored;
      RopeKeys local_keys;
      parse_rope_object(*local, "rope_parameters.sliding_attention", problems, arch, ignored,
                        local_keys);
      if (ignored.rope_scaling.factor != 1 || ignored.rope_linear != 1)
        problems.unsupported(
            "key \"rope_parameters.sliding_attention\": scaling of local layers is not supported");
      dims.local_rope_theta = local_keys.theta.value_or(dims.local_rope_theta);
    }
    kinds.refuse_unknown({});
  } else if (parameters != nullptr) {
    const std::optional<double> outer = keys.theta;
    const arch::RopeScaling scaling = dims.rope_scaling;
    const arch::LongRope long_rope = dims.long_rope;
    const double linear = dims.rope_linear;
    const bool had_scaling = config.find(std::string(arch.keys.rope_scaling)) != nullptr;
    parse_rope_object(*parameters, "rope_parameters", problems, arch, dims, keys);
    if (outer && keys.theta != outer)
      problems.input("keys \"rope_theta\" (", *outer, ") and \"rope_parameters.rope_theta\" (",
                     *keys.theta, ") contradict each other");
    if (had_scaling && !(scaling == dims.rope_scaling && long_rope == dims.long_rope &&
                         linear == dims.rope_linear))
      problems.input("keys \"rope_scaling\" and \"rope_parameters\" contradict each other");
  }
  if (outer_partial && keys.partial != outer_partial)
    problems.input("keys \"partial_rotary_factor\" (", *outer_partial,
                   ") and \"rope_parameters.partial_rotary_factor\" (", *keys.partial,
                   ") contradict each other");
  dims.rope_theta = keys.theta.value_or(arch.defaults.rope_theta);
  finish_rope(config, problems, arch, dims, keys);
}

}  // namespace espalier::checkpoint
