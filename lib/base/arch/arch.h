// SPDX-License-Identifier: Apache-2.0
// An architecture is a table: which tensors there are, their shapes as products of axes, their
// names, and the traits that steer the two forward passes. Parameter counts, byte sizes, GGUF
// names, prune indices and granules are derived from it.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "arch/dims.h"
#include "arch/role.h"
#include "format/quant_format.h"

namespace espalier::arch {

// What happens to a tensor on the way from the Hugging Face layout to GGUF. rope_permute: the rows
// of each head go from the half-split order of transformers (i, i + D/2) to the interleaved order
// of the ggml `llama` architecture (2i, 2i + 1). plus_one: gains that the Hugging Face layout
// stores less one (Gemma, Nemotron). transpose: a matrix that Hugging Face files alone store
// columns first (GPT-2's Conv1D); rows and columns of the table, and of every tensor in memory, are
// those of GGUF.
enum class Transform : std::uint8_t { none, rope_permute, plus_one, transpose };
// When a tensor is there: always, unless ModelDims::tied, or when ModelDims says that the model has
// such biases.
enum class Present : std::uint8_t { always, untied, attention_bias, output_bias, mlp_bias };

struct TensorSpec {
  Role role;
  std::string_view hf;  // Hugging Face name, "{L}" = layer index; neighbours of one name are the
                        // rows of one tensor, one below the other
  Extent rows, cols{};  // cols absent: a vector
  Transform to_gguf = Transform::none;
  Present present = Present::always;
};

// plus_one: the gain is the weight of the Hugging Face layout + 1. layer: mean taken off, and a
// bias.
enum class Norm : std::uint8_t { rms, rms_plus_one, layer, layer_plus_one };
// swiglu and geglu: silu or gelu of the gate, times up; the others of up itself, there is no gate.
// gelu: by tanh.
enum class Activation : std::uint8_t { swiglu, geglu, relu_squared, gelu };

// What config.json calls the sizes. Empty: the family has no such key.
struct ConfigKeys {
  std::string_view hidden = "hidden_size", ffn = "intermediate_size", layers = "num_hidden_layers",
                   heads = "num_attention_heads";
  std::string_view groups = "num_key_value_heads", head_dim = "head_dim",
                   positions = "max_position_embeddings", norm_eps = "rms_norm_eps";
};

// Which layers look at a window: layer l is local when (l + 1) % period != 0, unless config.json
// lists layer_types.
constexpr int kNoWindow = 0;    // the family has none
constexpr int kOnlyListed = 1;  // none by itself
constexpr int kEveryLayer = 1 << 30;
// What config.json means by leaving a key out.
struct Defaults {
  std::int64_t head_dim = 0;  // 0: hidden / heads
  std::int64_t positions = 2048, window = 0;
  double rope_theta = 10000, local_rope_theta = 0;
  double norm_eps = 1e-6;
  double attention_softcap = 0, logit_softcap = 0;
  double partial_rotary =
      0;  // share of a head that positions turn; 0: all of it, and there is no such key
  bool tied = false;
};

struct Arch {
  std::string_view name;  // of the family
  std::string_view models =
      {};  // published ones that it covers, for people; empty: the family's name says it
  std::string_view gguf;             // general.architecture of its files
  std::string_view hf_model_type;    // config.json model_type
  std::string_view hf_architecture;  // config.json architectures[0]
  Norm norm;
  Activation activation;
  Defaults defaults;
  int window_period;
  int no_rope_period;  // every so many-th layer has no rotary positions, unless config.json lists
                       // them; 0: all have
  bool scaled_embedding;           // embeddings are multiplied by sqrt(hidden)
  bool heads_fill_hidden = false;  // stock readers of GGUF take heads x head_dim for hidden
  bool long_rope = false;          // may have LongRoPE's divisors
  bool unequal_layers = false;     // config.json has sizes for every layer; its directories carry a
                                   // modeling file, because transformers has no such family
  bool absent_blocks = false;      // a layer may be without attention or FFN
  std::string_view other_model_type = {};  // config.json model_type of an older style
  ConfigKeys keys = {};
  std::string_view optional_prefix = {};  // of Hugging Face names, which some files leave out
  std::span<const TensorSpec> model;      // once
  std::span<const TensorSpec> layer;      // in every layer
};

constexpr bool is_layer_spec(const TensorSpec& spec) {
  return spec.hf.find("{L}") != std::string_view::npos;
}

// Unique roles; layer tensors named per layer; every per-layer axis that appears is produced by
// some tensor's rows and consumed by another's columns.
constexpr bool sound(const Arch& a) {
  for (std::size_t i = 0; i < a.layer.size(); ++i) {
    if (!is_layer_spec(a.layer[i])) return false;
    for (std::size_t j = 0; j < i; ++j)
      if (a.layer[i].role == a.layer[j].role) return false;
  }
  for (std::size_t i = 0; i < a.model.size(); ++i) {
    if (is_layer_spec(a.model[i])) return false;
    for (std::size_t j = 0; j < i; ++j)
      if (a.model[i].role == a.model[j].role) return false;
  }
  for (Axis x : {Axis::kv_groups, Axis::q_per_kv, Axis::ffn}) {
    bool rows = false, cols = false;
    for (const TensorSpec& t : a.layer) {
      rows |= touches(t.rows, x);
      cols |= touches(t.cols, x);
    }
    if (rows != cols) return false;
  }
  return true;
}

// One tensor of a concrete model.
struct TensorRef {
  const TensorSpec* spec;
  int layer;                // -1: model scope
  std::int64_t rows, cols;  // a vector has cols 1
  bool is_vector;
  std::int64_t elements() const { return rows * cols; }
  // The length of a GGUF row: what must be whole blocks. Vectors are stored as F32.
  std::int64_t row_length() const { return is_vector ? rows : cols; }
};

std::span<const Arch* const> all_archs();
const Arch* arch_by_name(std::string_view name);           // nullptr: unknown
const Arch* arch_by_gguf_name(std::string_view name);      // the first family whose files have that
                                                           // architecture; nullptr: unknown
const Arch* arch_by_hf_model_type(std::string_view type);  // nullptr: unknown

bool present(const TensorSpec& spec, const ModelDims& dims);
// Of attention that the layer does not have, or of such an FFN; the norm before it included.
bool in_absent_block(Role role, const LayerDims& layer);
// The family `deci`, whose layers may differ and lack blocks, where it computes what `arch` does
// with such sizes; else nullptr.
const Arch* as_deci(const Arch& arch, const ModelDims& dims);
bool has_optional(const Arch& arch, Present present);  // some tensor of the family depends on it
bool local_by_default(const Arch& arch, std::int64_t layer);
bool rope_by_default(const Arch& arch, std::int64_t layer);
// Pairs of the rotary embedding lie side by side in q and k of GGUF files (else half a head apart,
// as in the Hugging Face layout).
bool interleaved_in_gguf(const Arch& arch);
// The matrices that read the normed stream: of attention (q, k, v or all in one), and of the FFN
// (gate and up, one or both in one).
std::vector<Role> attention_inputs(const Arch& arch);
std::vector<Role> ffn_inputs(const Arch& arch);
bool has_gate(const Arch& arch);
bool learned_positions(
    const Arch& arch);  // a table of positions added to the embeddings, no rotation
double attention_scale(const ModelDims& dims);
// Every tensor of the model in file order (model scope first, then layer by layer), without those
// that are not present.
std::vector<TensorRef> tensors(const Arch& arch, const ModelDims& dims);
const TensorSpec* find_spec(const Arch& arch, Role role);  // nullptr: this architecture has none
TensorRef tensor_ref(const Arch& arch, const ModelDims& dims, Role role, int layer);
std::int64_t parameters(const Arch& arch, const ModelDims& dims);
std::int64_t non_embedding_parameters(const Arch& arch, const ModelDims& dims);
std::int64_t kv_bytes_per_token(const ModelDims& dims, std::int64_t bytes_per_value = 2);

// Positions inside `extent` that survive when `axis` keeps the sorted indices `keep`; sizes before
// the cut in dims/layer.
std::vector<std::int64_t> surviving(const Extent& extent, Axis axis,
                                    std::span<const std::int64_t> keep, const ModelDims& dims,
                                    const LayerDims* layer);

// Row of the GGUF tensor that holds row `hf_row` of the Hugging Face tensor (and the other way
// round), per head of head_dim rows.
std::int64_t rope_permuted_row(std::int64_t hf_row, std::int64_t head_dim);
std::int64_t rope_unpermuted_row(std::int64_t gguf_row, std::int64_t head_dim);

// Inverse frequencies (half of the values turned) of the rotary embedding, in double: of global
// layers with the scaling of `dims`, of local ones with their own base where they have one.
// `beyond`: for a text longer than LongRoPE's original context.
std::vector<double> rope_inverse_frequencies(const ModelDims& dims, bool local = false,
                                             bool beyond = false);
// Divisors of theta per frequency as GGUF's rope_freqs.weight holds them; empty without scaling.
std::vector<float> rope_frequency_factors(const ModelDims& dims);
// LongRoPE's factor on cosines and sines where config.json states none: sqrt(1 + ln(factor) /
// ln(original positions)), at least 1; `factor` is how many times longer the context became.
double long_rope_attention_factor(double factor, std::int64_t original_positions);
// The tensors that a GGUF holds beside those of the table, in file order.
struct RopeTensor {
  Role role;
  std::vector<float> values;
};
std::vector<RopeTensor> rope_tensors(const ModelDims& dims);

}  // namespace espalier::arch
