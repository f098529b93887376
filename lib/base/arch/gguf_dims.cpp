// SPDX-License-Identifier: Apache-2.0
// Reads and writes the sizes of a model as GGUF metadata, and refuses keys that would change the
// arithmetic.
#include "arch/gguf_dims.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <system_error>
#include <vector>

#include "arch/factors.h"
#include "arch/gguf_windows.h"
#include "core/error.h"

namespace espalier::arch {
namespace {

using format::GgufHeader;
using format::GgufValue;

// Far above the size of any model, and small enough that the product of four sizes fits an int64.
constexpr std::int64_t kMaxSize = std::int64_t{1} << 24;
constexpr std::int64_t kMaxLayers = 4096;

// Scaling parameters of Llama 3.1. Standard GGUF holds only the resulting factors, in
// rope_freqs.weight.
constexpr std::string_view kRopeFactor = "espalier.rope.factor";
constexpr std::string_view kRopeLow = "espalier.rope.low_freq_factor";
constexpr std::string_view kRopeHigh = "espalier.rope.high_freq_factor";
constexpr std::string_view kRopePositions = "espalier.rope.original_positions";

// Suffixes after "<arch>." that are read below or do not change the arithmetic.
constexpr std::string_view kKnown[] = {
    "block_count",
    "context_length",
    "embedding_length",
    "vocab_size",
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.value_length",
    "rope.dimension_count",
    "rope.freq_base",
    "rope.scaling.type",
    "rope.scaling.factor",
    "rope.scaling.original_context_length",
    "rope.scale_linear",
    "tensor_data_layout",
};
// The same for families with windows, a rotary base of local layers, or soft-caps.
constexpr std::string_view kWindowKeys[] = {"attention.sliding_window",
                                            "attention.sliding_window_pattern"};
constexpr std::string_view kLocalBase = "rope.freq_base_swa",
                           kAttentionCap = "attn_logit_softcapping",
                           kLogitCap = "final_logit_softcapping";
constexpr std::string_view kWindow = "attention.sliding_window",
                           kFinetuned = "rope.scaling.finetuned",
                           kLongRopeFactor = "rope.scaling.attn_factor",
                           kLongRopeContext = "rope.scaling.original_context_length";

std::string_view norm_eps_suffix(const Arch& arch) {
  switch (arch.norm) {
    case Norm::rms:
    case Norm::rms_plus_one:
      return "attention.layer_norm_rms_epsilon";
    case Norm::layer:
    case Norm::layer_plus_one:
      return "attention.layer_norm_epsilon";
  }
  return {};
}
bool knows(const Arch& arch, std::string_view suffix) {
  if (suffix == norm_eps_suffix(arch)) return true;
  if (suffix == kLongRopeFactor) return arch.long_rope;
  if (suffix == kFinetuned) return !arch.gguf_rope_switch;
  for (const Factor& factor : kFactors)
    if (suffix == factor.gguf) return factor.stated_by(arch);
  if (suffix == kWindow && states_window(arch)) return true;
  for (const Axis axis : kLayerAxes)
    if (suffix == gguf_key(axis) && has_axis(arch, axis)) return true;
  if (std::find(std::begin(kKnown), std::end(kKnown), suffix) != std::end(kKnown)) return true;
  if (suffix == kLocalBase) return arch.defaults.local_rope_theta > 0;
  if (suffix == kAttentionCap) return arch.defaults.attention_softcap > 0;
  if (suffix == kLogitCap) return arch.defaults.logit_softcap > 0;
  return has_window_keys(arch) &&
         std::find(std::begin(kWindowKeys), std::end(kWindowKeys), suffix) != std::end(kWindowKeys);
}

// Keys that are harmless with one value, because it switches their feature off.
struct Neutral {
  std::string_view key;
  double value;
};
// clang-format off
constexpr Neutral kNeutral[] = {
    {"expert_count", 0},             {"expert_used_count", 0},      {"attention.sliding_window", 0},
    {"attention.causal", 1},         {"use_parallel_residual", 0},  {"attention.clamp_kqv", 0},
    {"logit_scale", 1},              {"embedding_scale", 1},        {"residual_scale", 1},
    {"attn_logit_softcapping", 0},   {"final_logit_softcapping", 0}, {"rope.scaling.attn_factor", 1},
    {kFinetuned, 1},
};
// clang-format on

double as_number(const GgufValue& v, bool& ok) {
  ok = true;
  if (const auto* u = std::get_if<std::uint64_t>(&v.value)) return static_cast<double>(*u);
  if (const auto* i = std::get_if<std::int64_t>(&v.value)) return static_cast<double>(*i);
  if (const auto* d = std::get_if<double>(&v.value)) return *d;
  if (const auto* b = std::get_if<bool>(&v.value)) return *b ? 1 : 0;
  ok = false;
  return 0;
}

// What switches a thing off: 0, false, nothing.
bool is_off(const GgufValue& v) {
  bool is_number = false;
  const double number = as_number(v, is_number);
  if (is_number) return number == 0;
  if (const auto* text = std::get_if<std::string>(&v.value)) return text->empty();
  const auto* list = std::get_if<std::shared_ptr<const format::GgufArray>>(&v.value);
  return list != nullptr && (*list)->numbers.empty() && (*list)->strings.empty();
}

// What a GGUF is that is no model.
struct OtherFile {
  std::string_view key, value, what;
};
constexpr OtherFile kOtherFiles[] = {
    {"general.type", "adapter",
     "is a LoRA adapter; merge one in the layout of PEFT with espalier import BASE --adapter DIR"},
    {"general.type", "imatrix",
     "holds statistics for quantizing and no model; give it to quantize --imatrix"},
    {"general.type", "mmproj",
     "is the part of a model that reads pictures or sound; give the file of its text part"},
    {"general.architecture", "clip",
     "is the part of a model that reads pictures or sound; give the file of its text part"},
    {"general.architecture", "controlvector", "is a control vector, which changes a model"},
};

// The shortest decimal that gives this float. std::to_chars does the same, but its 120 kB of tables
// are large for a small program.
double shortest(double stored_as_f32) {
  const float value = static_cast<float>(stored_as_f32);
  char text[32];
  for (int digits = 1; digits <= 9; ++digits) {
    std::snprintf(text, sizeof text, "%.*g", digits, static_cast<double>(value));
    if (std::strtof(text, nullptr) == value) return std::strtod(text, nullptr);
  }
  return stored_as_f32;
}

class Reader {
 public:
  Reader(const GgufHeader& header, const Arch& arch)
      : header_(header), arch_(arch), prefix_(std::string(arch.gguf) + ".") {}

  std::string key(std::string_view suffix) const { return prefix_ + std::string(suffix); }

  std::int64_t size(std::string_view suffix, std::int64_t low, std::int64_t high) const {
    return checked(suffix, header_.integer(key(suffix)), low, high);
  }
  std::optional<std::int64_t> optional_size(std::string_view suffix, std::int64_t low,
                                            std::int64_t high) const {
    const auto v = header_.optional_integer(key(suffix));
    if (v) checked(suffix, *v, low, high);
    return v;
  }
  // One number for all layers, or an array with one number per layer.
  std::vector<std::int64_t> per_layer(std::string_view suffix, std::int64_t n_layers) const {
    const GgufValue* v = header_.find(key(suffix));
    const auto* array =
        v != nullptr ? std::get_if<std::shared_ptr<const format::GgufArray>>(&v->value) : nullptr;
    if (array == nullptr)
      return std::vector<std::int64_t>(static_cast<std::size_t>(n_layers),
                                       size(suffix, 0, kMaxSize));
    const std::vector<double>& numbers = (*array)->numbers;
    ESP_CHECK(static_cast<std::int64_t>(numbers.size()) == n_layers, input, header_.path(),
              ": key '", key(suffix), "' has ", numbers.size(),
              " entries, expected one for each of ", n_layers, " layers");
    std::vector<std::int64_t> out;
    for (const double x : numbers) {
      ESP_CHECK(x >= 0 && x <= static_cast<double>(kMaxSize) &&
                    x == static_cast<double>(static_cast<std::int64_t>(x)),
                input, header_.path(), ": key '", key(suffix), "' has an entry ", x,
                ", expected whole numbers of at most ", kMaxSize);
      out.push_back(static_cast<std::int64_t>(x));
    }
    return out;
  }

  // Checks that every key under "<arch>." is known and, where it would change the arithmetic,
  // neutral.
  void refuse_unknown_keys() const {
    std::string refused;
    for (const auto& [name, value] : header_.metadata()) {
      if (!std::string_view(name).starts_with(prefix_)) continue;
      const std::string_view suffix = std::string_view(name).substr(prefix_.size());
      if (knows(arch_, suffix)) continue;
      const auto* neutral = std::find_if(std::begin(kNeutral), std::end(kNeutral),
                                         [&](const Neutral& n) { return n.key == suffix; });
      bool is_number = false;
      const double number = as_number(value, is_number);
      if (neutral == std::end(kNeutral) ? is_off(value) : is_number && number == neutral->value)
        continue;
      refused += (refused.empty() ? "'" : ", '") + name + "'";
    }
    ESP_CHECK(refused.empty(), unsupported, header_.path(),
              refused.find(".expert") != std::string::npos
                  ? ": is a mixture of experts, which this family is not read with, by key "
                  : ": the file needs computations that are not supported, by key ",
              refused);
  }

  // The number by which ggml divides positions. Without a type, ggml reads a factor as linear
  // scaling. A factor of 0 means none.
  double linear_scaling() const {
    const std::string type = header_.optional_text(key("rope.scaling.type")).value_or("linear");
    const bool divisors = type == "longrope" && arch_.long_rope;  // the divisors are tensors
    ESP_CHECK(type == "none" || type == "linear" || divisors, unsupported, header_.path(),
              ": key '", key("rope.scaling.type"), "' is '", type,
              "', expected none or linear (Llama-3 scaling comes as the tensor rope_freqs.weight)");
    std::string name = key("rope.scaling.factor");
    // The key of old files.
    if (header_.find(name) == nullptr) name = key("rope.scale_linear");
    double factor = shortest(header_.optional_real(name).value_or(1));
    if (factor == 0 || type == "none") factor = 1;
    ESP_CHECK(factor > 0 && factor < 1e6, input, header_.path(), ": key '", name, "' is ", factor,
              ", expected a positive number below 1e6");
    ESP_CHECK(factor == 1 || !(divisors || learned_positions(arch_)), unsupported, header_.path(),
              ": key '", name, "' is ", factor,
              ": linear RoPE scaling is not supported in this kind of model");
    return factor;
  }

 private:
  std::int64_t checked(std::string_view suffix, std::int64_t value, std::int64_t low,
                       std::int64_t high) const {
    ESP_CHECK(value >= low && value <= high, input, header_.path(), ": key '", key(suffix), "' is ",
              value, ", expected ", low, " to ", high);
    return value;
  }

  const GgufHeader& header_;
  const Arch& arch_;
  std::string prefix_;
};

std::string known_archs() {
  std::string out;
  for (const Arch* a : all_archs())
    if (arch_by_gguf_name(a->gguf) == a) out += (out.empty() ? "" : ", ") + std::string(a->gguf);
  return out;
}

std::vector<LayerDims> read_layers(const GgufHeader& header, const Reader& read, const Arch& arch,
                                   std::int64_t n_layers) {
  const auto heads = read.per_layer("attention.head_count", n_layers);
  const bool grouped = header.find(read.key("attention.head_count_kv")) != nullptr;
  const auto groups = grouped ? read.per_layer("attention.head_count_kv", n_layers) : heads;
  PerAxis<std::vector<std::int64_t>> sizes;
  for (const Axis axis : kLayerAxes)
    if (!gguf_key(axis).empty() && has_axis(arch, axis))
      sizes[axis] = read.per_layer(gguf_key(axis), n_layers);
  std::vector<LayerDims> out;
  for (std::size_t l = 0; l < heads.size(); ++l) {
    if (arch.check_gguf_layer != nullptr)
      arch.check_gguf_layer(header.path() + ": layer " + std::to_string(l), heads[l], groups[l],
                            sizes[Axis::ffn].at(l));
    ESP_CHECK((groups[l] == 0) == (heads[l] == 0) && (groups[l] == 0 || heads[l] % groups[l] == 0),
              input, header.path(), ": layer ", l, " has ", heads[l], " heads and ", groups[l],
              " key-value heads, expected a multiple");
    LayerDims& layer = out.emplace_back();
    layer[Axis::kv_groups] = groups[l];
    layer[Axis::q_per_kv] = groups[l] == 0 ? 0 : heads[l] / groups[l];
    for (const Axis axis : kLayerAxes)
      if (!sizes[axis].empty()) layer[axis] = sizes[axis][l];
    keep_one_block(arch, layer);
  }
  return out;
}

std::int64_t read_head_dim(const GgufHeader& header, const Reader& read, const ModelDims& dims) {
  std::int64_t head_dim = 0;
  if (const auto length = read.optional_size("attention.key_length", 2, kMaxSize)) {
    head_dim = *length;
  } else {
    std::int64_t heads = 0;
    for (const LayerDims& l : dims.layers)
      if (heads == 0) heads = l.heads();
    ESP_CHECK(heads > 0 && dims.hidden % heads == 0, input, header.path(), ": no key '",
              read.key("attention.key_length"), "' and ", dims.hidden,
              " hidden values cannot be split into ", heads, " heads");
    head_dim = dims.hidden / heads;
  }
  const auto length = read.optional_size("attention.value_length", 1, kMaxSize);
  ESP_CHECK(!length || *length == head_dim, unsupported, header.path(), ": key '",
            read.key("attention.value_length"), "' is ", *length, ", expected the head size ",
            head_dim);
  return head_dim;
}

// Reads how much of a head is rotated by position, and LongRoPE except its divisors, which are
// tensors.
void read_rotation(const GgufHeader& header, const Reader& read, const Arch& arch,
                   GgufModel& model) {
  ModelDims& d = model.dims;
  const auto rotated = read.optional_size("rope.dimension_count", 1, kMaxSize);
  if (learned_positions(arch)) {
    ESP_CHECK(!rotated, unsupported, header.path(), ": key '", read.key("rope.dimension_count"),
              "' in an architecture without rotary embedding");
    return;
  }
  ESP_CHECK(d.head_dim % 2 == 0, unsupported, header.path(), ": heads of ", d.head_dim,
            " values: rotary embedding needs an even number");
  if (arch.defaults.partial_rotary > 0 && rotated && *rotated != d.head_dim) {
    ESP_CHECK(*rotated < d.head_dim && *rotated % 2 == 0, input, header.path(), ": key '",
              read.key("rope.dimension_count"), "' is ", *rotated,
              ", expected an even number of at most ", d.head_dim);
    d.rotary_dim = *rotated;
  } else {
    ESP_CHECK(!rotated || *rotated == d.head_dim, unsupported, header.path(), ": key '",
              read.key("rope.dimension_count"), "' is ", *rotated, ", expected the head size ",
              d.head_dim);
  }
  const auto has = [&](Role role) { return header.tensor(gguf_name(role, -1)) != nullptr; };
  model.long_factors = arch.long_rope && has(Role::rope_factors_long);
  if (!model.long_factors) {
    const double factor = header.optional_real(read.key(kLongRopeFactor)).value_or(1);
    ESP_CHECK(factor == 1, unsupported, header.path(), ": key '", read.key(kLongRopeFactor),
              "' is ", factor, " but there is no ", gguf_name(Role::rope_factors_long, -1));
    return;
  }
  ESP_CHECK(has(Role::rope_factors_short), input, header.path(), ": tensor '",
            gguf_name(Role::rope_factors_short, -1), "' is missing");
  d.long_rope.original_positions =
      read.optional_size(kLongRopeContext, 1, std::int64_t{1} << 31).value_or(d.positions);
  d.long_rope.attention_factor =
      shortest(header.optional_real(read.key(kLongRopeFactor)).value_or(1));
  ESP_CHECK(d.long_rope.attention_factor > 0 && d.long_rope.attention_factor < 1e6, input,
            header.path(), ": key '", read.key(kLongRopeFactor), "' is ",
            d.long_rope.attention_factor);
}

std::int64_t read_vocab(const GgufHeader& header, const Reader& read) {
  const auto vocab_by_key = read.optional_size("vocab_size", 1, kMaxSize);
  const format::GgufArray* tokens = header.optional_array("tokenizer.ggml.tokens");
  const std::int64_t vocab_by_tokens =
      tokens != nullptr ? static_cast<std::int64_t>(tokens->strings.size()) : 0;
  ESP_CHECK(vocab_by_key || tokens != nullptr, input, header.path(), ": neither key '",
            read.key("vocab_size"), "' nor 'tokenizer.ggml.tokens' is in the file");
  ESP_CHECK(!vocab_by_key || tokens == nullptr || *vocab_by_key == vocab_by_tokens, input,
            header.path(), ": key '", read.key("vocab_size"), "' is ", *vocab_by_key, " but ",
            vocab_by_tokens, " tokens are listed");
  const std::int64_t vocab = vocab_by_key ? *vocab_by_key : vocab_by_tokens;
  ESP_CHECK(vocab > 0, input, header.path(), ": the list of tokens is empty");
  return vocab;
}

// Reads what a family has beyond Llama: windows, soft-caps, layers without positions.
void read_traits(const GgufHeader& header, const Reader& read, const Arch& arch, ModelDims& d) {
  const auto cap = [&](std::string_view suffix, double absent) {
    return shortest(header.optional_real(read.key(suffix)).value_or(absent));
  };
  if (arch.defaults.attention_softcap > 0) d.attention_softcap = cap(kAttentionCap, 0);
  if (arch.defaults.logit_softcap > 0) d.logit_softcap = cap(kLogitCap, 0);
  ESP_CHECK(d.attention_softcap >= 0 && d.logit_softcap >= 0, input, header.path(),
            ": a soft-cap is negative");
  for (const Factor& factor : kFactors) {
    if (!factor.stated_by(arch) || header.find(read.key(factor.gguf)) == nullptr) continue;
    d.*factor.value = shortest(header.real(read.key(factor.gguf)));
    ESP_CHECK(d.*factor.value > 0 && d.*factor.value < 1e30, input, header.path(), ": key '",
              read.key(factor.gguf), "' is ", d.*factor.value, ", expected a positive number");
  }
  const auto layers = static_cast<std::size_t>(d.n_layers());
  for (std::size_t l = 0; l < layers; ++l)
    d.layers[l].rope = rope_by_default(arch, static_cast<std::int64_t>(l));
  if (has_window_keys(arch)) {
    d.window = read.optional_size("attention.sliding_window", 0, std::int64_t{1} << 31).value_or(0);
    const GgufValue* pattern = header.find(read.key("attention.sliding_window_pattern"));
    const auto* listed =
        pattern != nullptr ? std::get_if<std::shared_ptr<const format::GgufArray>>(&pattern->value)
                           : nullptr;
    if (listed != nullptr)
      ESP_CHECK((*listed)->numbers.size() == layers, input, header.path(), ": key '",
                read.key("attention.sliding_window_pattern"), "' has ", (*listed)->numbers.size(),
                " entries, expected one for each of ", layers, " layers");
    else
      ESP_CHECK(pattern == nullptr, unsupported, header.path(), ": key '",
                read.key("attention.sliding_window_pattern"), "' is not a list of layers");
    for (std::size_t l = 0; d.window > 0 && l < layers; ++l)
      d.layers[l].local = listed != nullptr ? (*listed)->numbers[l] != 0
                                            : local_by_default(arch, static_cast<std::int64_t>(l));
  }
  if (states_window(arch)) {
    d.window = read.optional_size(kWindow, 0, std::int64_t{1} << 31).value_or(0);
    for (std::size_t l = 0; l < layers; ++l) d.layers[l].local = d.window > 0;
  }
  if (arch.defaults.local_rope_theta > 0) {
    d.local_rope_theta = shortest(header.optional_real(read.key(kLocalBase)).value_or(10000));
    ESP_CHECK(d.local_rope_theta > 0 && d.local_rope_theta < 1e30, input, header.path(), ": key '",
              read.key(kLocalBase), "' is ", d.local_rope_theta);
  }
  if (const double scale = gguf_attention_scale(arch, d); scale != attention_scale(d))
    d.attention_scale = scale;
}

// Whether the file has the tensors whose presence depends on `present`. Looks at the last of them
// in the first layer that has their block.
bool has_tensors(const GgufHeader& header, const Arch& arch, const ModelDims& dims,
                 Present present) {
  for (const Block& block : arch.blocks)
    for (auto spec = block.tensors.rbegin(); spec != block.tensors.rend(); ++spec)
      for (std::size_t l = 0; spec->present == present && l < dims.layers.size(); ++l)
        if (block.in(dims.layers[l]))
          return header.tensor(gguf_name(spec->role, static_cast<int>(l))) != nullptr;
  return false;
}

GgufValue u32(std::int64_t v) { return GgufValue::u32(static_cast<std::uint32_t>(v)); }

template <typename Get>
GgufValue scalar_or_array(const ModelDims& dims, Get&& get) {
  std::vector<std::int32_t> values;
  values.reserve(dims.layers.size());
  for (const LayerDims& l : dims.layers) values.push_back(static_cast<std::int32_t>(get(l)));
  const bool same = std::all_of(values.begin(), values.end(),
                                [&](std::int32_t v) { return v == values.front(); });
  return same ? u32(values.front()) : GgufValue::i32s(values);
}

void write_traits(const Arch& arch, const ModelDims& dims, const std::string& prefix,
                  format::GgufWriter& writer) {
  const auto real = [&](std::string_view suffix, double v) {
    writer.set(prefix + std::string(suffix), GgufValue::f32(static_cast<float>(v)));
  };
  if (arch.defaults.attention_softcap > 0) real(kAttentionCap, dims.attention_softcap);
  if (arch.defaults.logit_softcap > 0) real(kLogitCap, dims.logit_softcap);
  for (const Factor& factor : kFactors)
    if (factor.stated_by(arch)) real(factor.gguf, factor.of(dims));
  if (arch.defaults.local_rope_theta > 0) real(kLocalBase, dims.local_rope_theta);
  if (states_window(arch)) writer.set(prefix + std::string(kWindow), u32(dims.window));
  if (dims.long_rope.used()) {
    real(kLongRopeFactor, dims.long_rope.attention_factor);
    writer.set(prefix + std::string(kLongRopeContext), u32(dims.long_rope.original_positions));
  }
  if (!has_window_keys(arch)) return;
  writer.set(prefix + "attention.sliding_window", u32(dims.window));
  std::vector<bool> local;
  bool usual = true;
  for (std::size_t l = 0; l < dims.layers.size(); ++l) {
    local.push_back(dims.layers[l].local);
    usual = usual && dims.layers[l].local == local_by_default(arch, static_cast<std::int64_t>(l));
  }
  if (!usual) writer.set(prefix + "attention.sliding_window_pattern", GgufValue::bools(local));
}

}  // namespace

GgufModel read_gguf_model(const GgufHeader& header) {
  GgufModel out;
  for (const OtherFile& other : kOtherFiles)
    ESP_CHECK(header.optional_text(other.key) != std::string(other.value), input, header.path(),
              ": ", other.what);
  const std::string& name = header.text("general.architecture");
  out.arch = arch_by_gguf_name(name);
  ESP_CHECK(out.arch != nullptr, unsupported, header.path(), ": architecture '", name,
            "' is not one of ", known_archs());
  const Reader read(header, *out.arch);
  read.refuse_unknown_keys();

  ModelDims& d = out.dims;
  d.hidden = read.size("embedding_length", 1, kMaxSize);
  d.positions = read.size("context_length", 1, std::int64_t{1} << 31);
  d.layers = read_layers(header, read, *out.arch, read.size("block_count", 1, kMaxLayers));
  d.head_dim = read_head_dim(header, read, d);
  d.vocab = read_vocab(header, read);
  const std::string eps_key = read.key(norm_eps_suffix(*out.arch));
  d.norm_eps = shortest(header.real(eps_key));
  d.rope_theta = shortest(header.optional_real(read.key("rope.freq_base")).value_or(10000));
  ESP_CHECK(d.norm_eps >= 0 && d.norm_eps < 1, input, header.path(), ": key '", eps_key, "' is ",
            d.norm_eps);
  ESP_CHECK(d.rope_theta > 0 && d.rope_theta < 1e30, input, header.path(), ": key '",
            read.key("rope.freq_base"), "' is ", d.rope_theta);
  d.rope_linear = read.linear_scaling();
  if (const auto factor = header.optional_real(kRopeFactor)) {
    d.rope_scaling = {.factor = shortest(*factor),
                      .low_freq_factor = shortest(header.real(kRopeLow)),
                      .high_freq_factor = shortest(header.real(kRopeHigh)),
                      .original_positions = header.integer(kRopePositions)};
  }
  d.tied = header.tensor(gguf_name(Role::output, -1)) == nullptr;
  d.attention_bias = has_tensors(header, *out.arch, d, Present::attention_bias);
  d.output_bias = has_tensors(header, *out.arch, d, Present::output_bias);
  d.mlp_bias = has_tensors(header, *out.arch, d, Present::mlp_bias);
  read_rotation(header, read, *out.arch, out);
  read_traits(header, read, *out.arch, d);
  out.rope_factors = header.tensor(gguf_name(Role::rope_freqs, -1)) != nullptr;
  ESP_CHECK(!out.rope_factors || out.arch->gguf_rope_freqs, unsupported, header.path(),
            ": tensor '", gguf_name(Role::rope_freqs, -1), "' is not part of architecture '",
            out.arch->gguf, "', and stock readers do not load such a file either");
  ESP_CHECK(!(out.rope_factors && out.long_factors), unsupported, header.path(), ": tensors '",
            gguf_name(Role::rope_freqs, -1), "' and '", gguf_name(Role::rope_factors_long, -1),
            "' are both there: two kinds of rope scaling at once are not computed");
  ESP_CHECK(d.rope_linear == 1 || !(out.rope_factors || out.long_factors), unsupported,
            header.path(), ": key '", read.key("rope.scaling.factor"), "' is ", d.rope_linear,
            " and a tensor holds divisors of frequencies: two kinds of RoPE scaling at once are "
            "not supported");
  require_sizes(*out.arch, d, header.path());
  return out;
}

void write_gguf_model(const Arch& arch, const ModelDims& dims, format::GgufWriter& writer) {
  ESP_CHECK(!dims.layers.empty(), internal, "a model without layers");
  const std::string prefix = std::string(arch.gguf) + ".";
  writer.set("general.architecture", GgufValue::string(std::string(arch.gguf)));
  writer.set(prefix + "block_count", u32(dims.n_layers()));
  writer.set(prefix + "context_length", u32(dims.positions));
  writer.set(prefix + "embedding_length", u32(dims.hidden));
  for (const Axis axis : kLayerAxes)
    if (!gguf_key(axis).empty() && has_axis(arch, axis))
      writer.set(prefix + std::string(gguf_key(axis)),
                 scalar_or_array(dims, [&](const LayerDims& l) { return l[axis]; }));
  writer.set(prefix + "attention.head_count",
             scalar_or_array(dims, [](const LayerDims& l) { return l.heads(); }));
  writer.set(prefix + "attention.head_count_kv",
             scalar_or_array(dims, [](const LayerDims& l) { return l[Axis::kv_groups]; }));
  writer.set(prefix + "attention.key_length", u32(dims.head_dim));
  writer.set(prefix + "attention.value_length", u32(dims.head_dim));
  writer.set(prefix + std::string(norm_eps_suffix(arch)),
             GgufValue::f32(static_cast<float>(dims.norm_eps)));
  if (!learned_positions(arch)) {
    writer.set(prefix + "rope.dimension_count", u32(dims.rotated()));
    writer.set(prefix + "rope.freq_base", GgufValue::f32(static_cast<float>(dims.rope_theta)));
  }
  if (dims.rope_linear != 1) {
    writer.set(prefix + "rope.scaling.type", GgufValue::string("linear"));
    writer.set(prefix + "rope.scaling.factor",
               GgufValue::f32(static_cast<float>(dims.rope_linear)));
  }
  writer.set(prefix + "vocab_size", u32(dims.vocab));
  write_traits(arch, dims, prefix, writer);
  if (dims.rope_scaling.factor != 1) {
    const RopeScaling& s = dims.rope_scaling;
    writer.set(std::string(kRopeFactor), GgufValue::f32(static_cast<float>(s.factor)));
    writer.set(std::string(kRopeLow), GgufValue::f32(static_cast<float>(s.low_freq_factor)));
    writer.set(std::string(kRopeHigh), GgufValue::f32(static_cast<float>(s.high_freq_factor)));
    writer.set(std::string(kRopePositions),
               GgufValue::u64(static_cast<std::uint64_t>(s.original_positions)));
  }
}

}  // namespace espalier::arch
