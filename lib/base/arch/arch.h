// SPDX-License-Identifier: Apache-2.0
// An architecture is a table: its tensors, their shapes as products of axes, their names, and the
// traits that steer the two forward passes. Parameter counts, byte sizes, GGUF names, prune indices
// and granules are derived from the table.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "arch/block.h"
#include "arch/dims.h"
#include "arch/tensor_spec.h"
#include "format/quant_format.h"

namespace espalier::arch {

// rms_plus_one: the gain is the weight of the Hugging Face layout + 1. layer: subtracts the mean
// and adds a bias.
enum class Norm : std::uint8_t { rms, rms_plus_one, layer, layer_plus_one };
// swiglu and geglu: silu or gelu of the gate, times up. The others apply to up itself, without a
// gate. gelu is the tanh form.
enum class Activation : std::uint8_t { swiglu, geglu, relu_squared, gelu };

// The names of keys in config.json. Empty: the family has no such key.
struct ConfigKeys {
  std::string_view hidden = "hidden_size";
  // Of the sizes that layers share. Some files have the other key.
  PerAxis<std::string_view> sizes = {{Axis::ffn, "intermediate_size"}}, other_sizes = {};
  std::string_view layers = "num_hidden_layers", heads = "num_attention_heads";
  // Which layers have an FFN in place of experts: a list of their indices, and n where only every
  // n-th layer has experts.
  std::string_view dense_layers = {}, sparse_step = {};
  std::string_view groups = "num_key_value_heads", head_dim = "head_dim",
                   positions = "max_position_embeddings", norm_eps = "rms_norm_eps";
  std::string_view other_positions = {};  // of old versions; `positions` decides
  std::string_view tied = "tie_word_embeddings", rope_scaling = "rope_scaling";
  // The activation, and what the family calls it. Some files have the other key.
  std::string_view activation = "hidden_act", activation_name = "silu", other_activation = {};
  // The biases of attn_output, where they need not come with those of q, k and v.
  std::string_view output_bias = {};
  std::string_view attention_softcap = {}, logit_softcap = {};
  std::string_view query_scalar = {};  // s in the attention scale 1 / sqrt(s)
  // Of factors that the family's files state (factors.h).
  std::string_view embedding_factor = {}, attention_factor = {}, residual_factor = {},
                   logit_divisor = {};
};

// A key of config.json that few families have. Only this value, in JSON, is computed. Without a
// value: the key says nothing about a model of the family.
struct ConfigValue {
  std::string_view key, value = {};
  bool required = false;  // an absent key means another value
};

// Which layers use a window. Layer l is local when (l + 1) % period != 0, unless config.json lists
// layer_types.
constexpr int kNoWindow = 0;    // the family has no windows
constexpr int kOnlyListed = 1;  // only the layers that config.json lists
constexpr int kEveryLayer = 1 << 30;
// The values of keys that config.json leaves out.
struct Defaults {
  std::int64_t head_dim = 0;        // 0: hidden / heads
  std::int64_t ffn_per_hidden = 0;  // 0: config.json must state the width of the FFN
  std::int64_t positions = 2048, window = 0;
  double rope_theta = 10000, local_rope_theta = 0;
  double norm_eps = 1e-6;
  double attention_softcap = 0, logit_softcap = 0;
  double query_scalar = 0;
  // Share of a head that is rotated by position. 0: the whole head, and the family has no such key.
  double partial_rotary = 0;
  bool tied = false;
};

// Tensors of rotary models that old versions of transformers saved and that it computes now.
inline constexpr std::string_view kOldRotaryTensors[] = {
    "model.rotary_emb.inv_freq", "model.layers.{L}.self_attn.rotary_emb.inv_freq"};

// The output matrix in GGUF files of a family, as stock readers expect it.
enum class GgufOutput : std::uint8_t { any, own, embedding };

struct Arch {
  std::string_view name;  // of the family
  // Published models that the family covers, for people. Empty: the family's name says it.
  std::string_view models = {};
  std::string_view gguf;             // general.architecture of its files
  std::string_view hf_model_type;    // config.json model_type
  std::string_view hf_architecture;  // config.json architectures[0]
  Norm norm;
  Activation activation;
  Defaults defaults;
  int window_period;
  // Every no_rope_period-th layer has no rotary positions, unless config.json lists the layers. 0:
  // all layers have them.
  int no_rope_period;
  bool scaled_embedding;  // embeddings are multiplied by sqrt(hidden)
  // Stock readers of GGUF assume hidden = heads x head_dim.
  bool heads_fill_hidden = false;
  // The architecture that computes the same without this assumption. Models that break it are
  // written as that.
  std::string_view gguf_other_heads = {};
  // Stock readers of GGUF read biases beyond those of q, k and v.
  bool gguf_biases = false;
  // Stock readers of GGUF divide frequencies by rope_freqs.weight.
  bool gguf_rope_freqs = false;
  // llama-quantize takes a model of so many layers for a 70B, whose attn_v gets more bits. 0: none.
  std::int64_t gguf_70b_layers = 0;
  bool gguf_70b_grouped = false;  // only where several heads share keys and values
  // In GGUF, rope.scaling.finetuned = false means a model without rotary positions.
  bool gguf_rope_switch = false;
  GgufOutput gguf_output = GgufOutput::any;
  // At this number of layers, stock readers use 1 / sqrt(hidden / heads) as the attention scale.
  std::int64_t gguf_hidden_scale_layers = 0;
  // Error(unsupported) for sizes of a layer that stock readers would compute otherwise.
  void (*check_gguf_layer)(const std::string& place, std::int64_t heads, std::int64_t groups,
                           std::int64_t ffn) = nullptr;
  // Gives absent blocks a few channels (of zeros) where stock readers need them.
  void (*fill_for_readers)(ModelDims& dims) = nullptr;
  // transformers refuses a hidden that is no multiple of the heads.
  bool heads_divide_hidden = false;
  // Where config.json names no padding, BOS or EOS, transformers takes ids of the published model
  // and refuses smaller vocabularies.
  bool default_token_ids = false;
  // Families that compute the same, for models that transformers refuses under this name.
  std::span<const std::string_view> stand_ins = {};
  // Where config.json ties the output matrix, the family's code ignores a stored one.
  bool ignores_own_output = false;
  // config.json may hold the divisors of LongRoPE.
  bool long_rope = false;
  // config.json has sizes for every layer. Directories carry a modeling file, because transformers
  // has no such family.
  bool unequal_layers = false;
  bool absent_blocks = false;  // a layer may lack attention or FFN
  // config.json model_type of an older style.
  std::string_view other_model_type = {};
  ConfigKeys keys = {};
  std::span<const ConfigValue> config = {};
  // What layer_types of config.json calls a layer of attention, beside full_attention. The key must
  // be there, because without it the layers are of another kind.
  std::string_view attention_type = {};
  // The family that its directories are written as, with the same roles in the same order. Empty:
  // this one.
  std::string_view written_as = {};
  // Tensors of some files that transformers does not load either.
  std::span<const std::string_view> ignored = kOldRotaryTensors;
  std::span<const TensorSpec> model;  // tensors that occur once
  std::span<const Block> blocks;      // of every layer, in the order in which it applies them
};

constexpr bool has_bias(Norm norm) { return norm == Norm::layer || norm == Norm::layer_plus_one; }
constexpr bool has_gate(Activation activation) {
  return activation == Activation::swiglu || activation == Activation::geglu;
}

// Every block is sound, and there is one of a kind. Roles of the model scope are unique. Where two
// blocks name the same role they describe the same tensor; no layer has both. A norm of the stream
// has a bias where the family's norms have one; norms behind blocks have none.
constexpr bool sound(const Arch& a) {
  for (const TensorSpec& t : a.model) {
    if (is_layer_spec(t)) return false;
    for (const TensorSpec& other : a.model)
      if (&other != &t && other.role == t.role) return false;
    if (t.role == Role::output_norm && has_bias(a.norm)) {
      bool found = false;
      for (const TensorSpec& other : a.model) found |= weight_of(other.role) == t.role;
      if (!found) return false;
    }
  }
  for (const Block& b : a.blocks) {
    if (!sound(b)) return false;
    if (has_bias(a.norm) && (b.norm_behind || !b.has(*bias_of(b.norm)))) return false;
    for (const Block& other : a.blocks) {
      if (&other == &b) continue;
      if (other.kind == b.kind) return false;
      for (const TensorSpec& t : b.tensors)
        if (other.has(t.role) && *other.find(t.role) != t) return false;
    }
  }
  return !a.blocks.empty();
}

// One tensor of a concrete model.
struct TensorRef {
  const TensorSpec* spec;
  int layer;                // -1: model scope
  std::int64_t rows, cols;  // a vector has cols 1
  bool is_vector;
  std::int64_t stack = 1;  // matrices, of rows / stack rows each
  std::int64_t used = 1;   // of them by one token
  std::int64_t elements() const { return rows * cols; }
  // The length of a GGUF row, which must be a multiple of the block. Vectors are stored as F32.
  std::int64_t row_length() const { return is_vector ? rows : cols; }
  // Rows first. A stack has three dimensions.
  std::vector<std::int64_t> shape() const;
  std::vector<std::int64_t> gguf_shape() const;  // the same with the row length first
};

std::span<const Arch* const> all_archs();
const Arch* arch_by_name(std::string_view name);  // nullptr: unknown
// The first family whose GGUF files name that architecture. nullptr: unknown.
const Arch* arch_by_gguf_name(std::string_view name);
const Arch* arch_by_hf_model_type(std::string_view type);  // nullptr: unknown

bool present(const TensorSpec& spec, const ModelDims& dims);
// Whether the role belongs only to blocks that the layer lacks.
bool in_absent_block(const Arch& arch, Role role, const LayerDims& layer);
// Whether the layer has neither the block nor another with its norm, which stands in for it.
bool lacks(const Arch& arch, const Block& block, const LayerDims& layer);
bool lacks_blocks(const Arch& arch, const ModelDims& dims);  // some layer, some block
// Where a layer has sizes for several blocks with one norm, keeps those of the first in the table.
void keep_one_block(const Arch& arch, LayerDims& layer);
// Whether layers of the family have this size.
bool has_axis(const Arch& arch, Axis axis);
// Error(unsupported) for a model with a block that is not computed yet, before any work on it.
void require_computed(const Arch& arch, const ModelDims& dims, const std::string& place);
bool is_computed(const Arch& arch, const ModelDims& dims);
// Error(input) for a tensor with more values than any model has, and for a stack that lacks the
// matrices that a token uses. Afterwards no product of sizes overflows.
void require_sizes(const Arch& arch, const ModelDims& dims, const std::string& place);
const Block* find_block(const Arch& arch, BlockKind kind);  // nullptr: the family has none
// The block along whose units `axis` cuts. Error(internal) when there is none.
const Block& block_of(const Arch& arch, Axis axis);
// The tensors of one layer, in file order.
std::vector<const TensorSpec*> layer_tensors(const Arch& arch, const ModelDims& dims,
                                             const LayerDims& layer);
// A family whose layers may differ in size (and lack blocks, where some do), when it computes what
// `arch` computes with these sizes. nullptr: there is none.
const Arch* as_unequal_layers(const Arch& arch, const ModelDims& dims);
// Whether the presence of some tensor of the family depends on `present`.
bool has_optional(const Arch& arch, Present present);
bool local_by_default(const Arch& arch, std::int64_t layer);
bool rope_by_default(const Arch& arch, std::int64_t layer);
// True when the pairs of the rotary embedding lie side by side in q and k of GGUF files. Otherwise
// they lie half a head apart, as in the Hugging Face layout.
bool interleaved_in_gguf(const Arch& arch);
// Whether a table of positions is added to the embeddings instead of a rotation.
bool learned_positions(const Arch& arch);
double attention_scale(const ModelDims& dims);
// By which embeddings are multiplied: what the model states, or sqrt(hidden).
double embedding_factor(const Arch& arch, const ModelDims& dims);
// Every present tensor of the model in file order: model scope first, then layer by layer.
std::vector<TensorRef> tensors(const Arch& arch, const ModelDims& dims);
const TensorSpec* find_spec(const Arch& arch, Role role);  // nullptr: this architecture has none
TensorRef tensor_ref(const Arch& arch, const ModelDims& dims, Role role, int layer);
std::int64_t parameters(const Arch& arch, const ModelDims& dims);
// Those that one token uses: of a stack, some of the matrices.
std::int64_t active_parameters(const Arch& arch, const ModelDims& dims);
std::int64_t non_embedding_parameters(const Arch& arch, const ModelDims& dims);
std::int64_t kv_bytes_per_token(const ModelDims& dims, std::int64_t bytes_per_value = 2);

// Positions inside `extent` that survive when `axis` keeps the sorted indices `keep`. `dims` and
// `layer` hold the sizes before the cut.
std::vector<std::int64_t> surviving(const Extent& extent, Axis axis,
                                    std::span<const std::int64_t> keep, const ModelDims& dims,
                                    const LayerDims* layer);

// The row of the GGUF tensor that holds row `hf_row` of the Hugging Face tensor, and the inverse.
// Both work per head of head_dim rows.
std::int64_t rope_permuted_row(std::int64_t hf_row, std::int64_t head_dim);
std::int64_t rope_unpermuted_row(std::int64_t gguf_row, std::int64_t head_dim);

// Inverse frequencies of the rotary embedding, in double, half as many as rotated values. Global
// layers use the scaling of `dims`. Local layers use their own base where they have one.
// `long_text`: for a text longer than LongRoPE's original context.
std::vector<double> rope_inverse_frequencies(const ModelDims& dims, bool local = false,
                                             bool long_text = false);
// The divisors of theta per frequency, as GGUF's rope_freqs.weight holds them. Empty without
// scaling.
std::vector<float> rope_frequency_factors(const ModelDims& dims);
// LongRoPE's factor on cosines and sines where config.json states none: sqrt(1 + ln(factor) /
// ln(original positions)), at least 1. `factor` is the ratio of the new context to the original
// one.
double long_rope_attention_factor(double factor, std::int64_t original_positions);
// The tensors that a GGUF holds in addition to those of the table, in file order.
struct RopeTensor {
  Role role;
  std::vector<float> values;
};
std::vector<RopeTensor> rope_tensors(const ModelDims& dims);

}  // namespace espalier::arch
