#include "arch/gguf_dims.h"

#include <algorithm>
#include <charconv>
#include <string>
#include <system_error>
#include <vector>

#include "core/error.h"

namespace espalier::arch {
namespace {

using format::GgufHeader;
using format::GgufValue;

// Far beyond any model, small enough that products of four of them fit an int64.
constexpr std::int64_t kMaxSize = std::int64_t{1} << 24;
constexpr std::int64_t kMaxLayers = 4096;

// Llama-3.1 scaling parameters; GGUF proper has only the resulting factors, in rope_freqs.weight.
constexpr std::string_view kRopeFactor = "espalier.rope.factor";
constexpr std::string_view kRopeLow = "espalier.rope.low_freq_factor";
constexpr std::string_view kRopeHigh = "espalier.rope.high_freq_factor";
constexpr std::string_view kRopePositions = "espalier.rope.original_positions";

// "<arch>." + these are read below or do not touch the arithmetic.
constexpr std::string_view kKnown[] = {
    "block_count",
    "context_length",
    "embedding_length",
    "feed_forward_length",
    "vocab_size",
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.value_length",
    "attention.layer_norm_rms_epsilon",
    "rope.dimension_count",
    "rope.freq_base",
    "rope.scaling.type",
    "rope.scaling.factor",
    "rope.scaling.original_context_length",
    "rope.scaling.finetuned",
    "rope.scale_linear",
    "tensor_data_layout",
};

// Keys that are harmless with one value: the feature they describe is off.
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

double shortest(double stored_as_f32) {
  char text[32];
  const auto end = std::to_chars(text, text + sizeof text, static_cast<float>(stored_as_f32)).ptr;
  double out = stored_as_f32;
  std::from_chars(text, end, out);
  return out;
}

class Reader {
 public:
  Reader(const GgufHeader& header, std::string_view arch) : header_(header), prefix_(std::string(arch) + ".") {}

  std::string key(std::string_view suffix) const { return prefix_ + std::string(suffix); }

  std::int64_t size(std::string_view suffix, std::int64_t low, std::int64_t high) const {
    return checked(suffix, header_.integer(key(suffix)), low, high);
  }
  std::optional<std::int64_t> optional_size(std::string_view suffix, std::int64_t low, std::int64_t high) const {
    const auto v = header_.optional_integer(key(suffix));
    if (v) checked(suffix, *v, low, high);
    return v;
  }
  // One number for all layers, or an array of one a layer.
  std::vector<std::int64_t> per_layer(std::string_view suffix, std::int64_t n_layers) const {
    const GgufValue* v = header_.find(key(suffix));
    const auto* array = v != nullptr ? std::get_if<std::shared_ptr<const format::GgufArray>>(&v->value) : nullptr;
    if (array == nullptr) return std::vector<std::int64_t>(static_cast<std::size_t>(n_layers), size(suffix, 0, kMaxSize));
    const std::vector<double>& numbers = (*array)->numbers;
    ESP_CHECK(static_cast<std::int64_t>(numbers.size()) == n_layers, input, header_.path(), ": key '", key(suffix), "' has ", numbers.size(),
              " entries, expected one for each of ", n_layers, " layers");
    std::vector<std::int64_t> out;
    for (const double x : numbers) {
      ESP_CHECK(x >= 0 && x <= static_cast<double>(kMaxSize) && x == static_cast<double>(static_cast<std::int64_t>(x)), input, header_.path(),
                ": key '", key(suffix), "' has an entry ", x, ", expected whole numbers of at most ", kMaxSize);
      out.push_back(static_cast<std::int64_t>(x));
    }
    return out;
  }

  // Everything under "<arch>." is known and, where it would change the arithmetic, neutral.
  void refuse_unknown_keys() const {
    std::string refused;
    for (const auto& [name, value] : header_.metadata()) {
      if (!std::string_view(name).starts_with(prefix_)) continue;
      const std::string_view suffix = std::string_view(name).substr(prefix_.size());
      if (std::find(std::begin(kKnown), std::end(kKnown), suffix) != std::end(kKnown)) continue;
      const auto* neutral = std::find_if(std::begin(kNeutral), std::end(kNeutral), [&](const Neutral& n) { return n.key == suffix; });
      bool is_number = false;
      const double number = as_number(value, is_number);
      if (neutral != std::end(kNeutral) && is_number && number == neutral->value) continue;
      refused += (refused.empty() ? "'" : ", '") + name + "'";
    }
    ESP_CHECK(refused.empty(), unsupported, header_.path(), ": the file asks for computations we do not have, by key ", refused);
    refuse_rope_scaling();
  }

 private:
  std::int64_t checked(std::string_view suffix, std::int64_t value, std::int64_t low, std::int64_t high) const {
    ESP_CHECK(value >= low && value <= high, input, header_.path(), ": key '", key(suffix), "' is ", value, ", expected ", low, " to ", high);
    return value;
  }
  // Without a type, a factor means linear scaling to ggml.
  void refuse_rope_scaling() const {
    const std::string type = header_.optional_text(key("rope.scaling.type")).value_or("");
    if (type == "none") return;
    ESP_CHECK(type.empty() || type == "linear", unsupported, header_.path(), ": key '", key("rope.scaling.type"), "' is '", type,
              "', expected none (Llama-3 scaling comes as the tensor rope_freqs.weight)");
    for (const std::string_view suffix : {"rope.scaling.factor", "rope.scale_linear"}) {
      const double factor = header_.optional_real(key(suffix)).value_or(1);
      ESP_CHECK(factor == 1 || factor == 0, unsupported, header_.path(), ": key '", key(suffix), "' is ", factor,
                ": linear rope scaling is not computed");
    }
  }

  const GgufHeader& header_;
  std::string prefix_;
};

std::string known_archs() {
  std::string out;
  for (const Arch* a : all_archs()) out += (out.empty() ? "" : ", ") + std::string(a->name);
  return out;
}

std::vector<LayerDims> read_layers(const GgufHeader& header, const Reader& read, std::int64_t n_layers) {
  const auto heads = read.per_layer("attention.head_count", n_layers);
  const bool grouped = header.find(read.key("attention.head_count_kv")) != nullptr;
  const auto groups = grouped ? read.per_layer("attention.head_count_kv", n_layers) : heads;
  const auto ffn = read.per_layer("feed_forward_length", n_layers);
  std::vector<LayerDims> out;
  for (std::size_t l = 0; l < heads.size(); ++l) {
    ESP_CHECK((groups[l] == 0) == (heads[l] == 0) && (groups[l] == 0 || heads[l] % groups[l] == 0), input, header.path(), ": layer ", l, " has ",
              heads[l], " heads and ", groups[l], " key-value heads, expected a multiple");
    out.push_back({.kv_groups = groups[l], .q_per_kv = groups[l] == 0 ? 0 : heads[l] / groups[l], .ffn = ffn[l]});
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
      if (heads == 0) heads = l.kv_groups * l.q_per_kv;
    ESP_CHECK(heads > 0 && dims.hidden % heads == 0, input, header.path(), ": no key '", read.key("attention.key_length"), "' and ", dims.hidden,
              " hidden values do not split into ", heads, " heads");
    head_dim = dims.hidden / heads;
  }
  ESP_CHECK(head_dim % 2 == 0, unsupported, header.path(), ": heads of ", head_dim, " values, rotary embedding wants an even number");
  for (const std::string_view suffix : {"attention.value_length", "rope.dimension_count"}) {
    const auto length = read.optional_size(suffix, 1, kMaxSize);
    ESP_CHECK(!length || *length == head_dim, unsupported, header.path(), ": key '", read.key(suffix), "' is ", *length, ", expected the head size ",
              head_dim);
  }
  return head_dim;
}

std::int64_t read_vocab(const GgufHeader& header, const Reader& read) {
  const auto stated = read.optional_size("vocab_size", 1, kMaxSize);
  const format::GgufArray* tokens = header.optional_array("tokenizer.ggml.tokens");
  const std::int64_t counted = tokens != nullptr ? static_cast<std::int64_t>(tokens->strings.size()) : 0;
  ESP_CHECK(stated || tokens != nullptr, input, header.path(), ": neither key '", read.key("vocab_size"), "' nor 'tokenizer.ggml.tokens' is there");
  ESP_CHECK(!stated || tokens == nullptr || *stated == counted, input, header.path(), ": key '", read.key("vocab_size"), "' is ", *stated, " but ",
            counted, " tokens are listed");
  const std::int64_t vocab = stated ? *stated : counted;
  ESP_CHECK(vocab > 0, input, header.path(), ": the list of tokens is empty");
  return vocab;
}

GgufValue u32(std::int64_t v) { return GgufValue::u32(static_cast<std::uint32_t>(v)); }

GgufValue scalar_or_array(const ModelDims& dims, std::int64_t (*get)(const LayerDims&)) {
  std::vector<std::int32_t> values;
  for (const LayerDims& l : dims.layers) values.push_back(static_cast<std::int32_t>(get(l)));
  const bool same = std::all_of(values.begin(), values.end(), [&](std::int32_t v) { return v == values.front(); });
  return same ? u32(values.front()) : GgufValue::i32s(std::move(values));
}

}  // namespace

GgufModel read_gguf_model(const GgufHeader& header) {
  GgufModel out;
  const std::string& name = header.text("general.architecture");
  out.arch = arch_by_gguf_name(name);
  ESP_CHECK(out.arch != nullptr, unsupported, header.path(), ": architecture '", name, "' is not one of ", known_archs());
  const Reader read(header, name);
  read.refuse_unknown_keys();

  ModelDims& d = out.dims;
  d.hidden = read.size("embedding_length", 1, kMaxSize);
  d.positions = read.size("context_length", 1, std::int64_t{1} << 31);
  d.layers = read_layers(header, read, read.size("block_count", 1, kMaxLayers));
  d.head_dim = read_head_dim(header, read, d);
  d.vocab = read_vocab(header, read);
  d.norm_eps = shortest(header.real(read.key("attention.layer_norm_rms_epsilon")));
  d.rope_theta = shortest(header.optional_real(read.key("rope.freq_base")).value_or(10000));
  ESP_CHECK(d.norm_eps >= 0 && d.norm_eps < 1, input, header.path(), ": key '", read.key("attention.layer_norm_rms_epsilon"), "' is ", d.norm_eps);
  ESP_CHECK(d.rope_theta > 0 && d.rope_theta < 1e30, input, header.path(), ": key '", read.key("rope.freq_base"), "' is ", d.rope_theta);
  if (const auto factor = header.optional_real(kRopeFactor)) {
    d.rope_scaling = {.factor = shortest(*factor),
                      .low_freq_factor = shortest(header.real(kRopeLow)),
                      .high_freq_factor = shortest(header.real(kRopeHigh)),
                      .original_positions = header.integer(kRopePositions)};
  }
  d.tied = header.tensor(gguf_name(Role::output, -1)) == nullptr;
  out.rope_factors = header.tensor(gguf_name(Role::rope_freqs, -1)) != nullptr;
  return out;
}

void write_gguf_model(const Arch& arch, const ModelDims& dims, format::GgufWriter& writer) {
  ESP_CHECK(!dims.layers.empty(), internal, "a model without layers");
  const std::string prefix = std::string(arch.name) + ".";
  writer.set("general.architecture", GgufValue::string(std::string(arch.name)));
  writer.set(prefix + "block_count", u32(dims.n_layers()));
  writer.set(prefix + "context_length", u32(dims.positions));
  writer.set(prefix + "embedding_length", u32(dims.hidden));
  writer.set(prefix + "feed_forward_length", scalar_or_array(dims, [](const LayerDims& l) { return l.ffn; }));
  writer.set(prefix + "attention.head_count", scalar_or_array(dims, [](const LayerDims& l) { return l.kv_groups * l.q_per_kv; }));
  writer.set(prefix + "attention.head_count_kv", scalar_or_array(dims, [](const LayerDims& l) { return l.kv_groups; }));
  writer.set(prefix + "attention.key_length", u32(dims.head_dim));
  writer.set(prefix + "attention.value_length", u32(dims.head_dim));
  writer.set(prefix + "attention.layer_norm_rms_epsilon", GgufValue::f32(static_cast<float>(dims.norm_eps)));
  writer.set(prefix + "rope.dimension_count", u32(dims.head_dim));
  writer.set(prefix + "rope.freq_base", GgufValue::f32(static_cast<float>(dims.rope_theta)));
  writer.set(prefix + "vocab_size", u32(dims.vocab));
  if (dims.rope_scaling.factor != 1) {
    const RopeScaling& s = dims.rope_scaling;
    writer.set(std::string(kRopeFactor), GgufValue::f32(static_cast<float>(s.factor)));
    writer.set(std::string(kRopeLow), GgufValue::f32(static_cast<float>(s.low_freq_factor)));
    writer.set(std::string(kRopeHigh), GgufValue::f32(static_cast<float>(s.high_freq_factor)));
    writer.set(std::string(kRopePositions), GgufValue::u64(static_cast<std::uint64_t>(s.original_positions)));
  }
}

}  // namespace espalier::arch
