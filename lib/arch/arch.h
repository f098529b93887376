// An architecture is a table: which tensors there are, their shapes as products of axes, their names, and the traits that steer the
// two forward passes. Parameter counts, byte sizes, GGUF names, prune indices and granules are derived from it.
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

// What happens to a tensor on the way from the Hugging Face layout to GGUF. rope_permute: the rows of each head go from the
// half-split order of transformers (i, i + D/2) to the interleaved order of the ggml `llama` architecture (2i, 2i + 1).
enum class Transform : std::uint8_t { none, rope_permute };

struct TensorSpec {
  Role role;
  std::string_view hf;  // Hugging Face name, "{L}" = layer index
  Extent rows, cols{};  // cols absent: a vector
  Transform to_gguf = Transform::none;
  bool tied = false;      // absent when ModelDims::tied
};

enum class Norm : std::uint8_t { rms };
enum class Activation : std::uint8_t { silu };
enum class Rope : std::uint8_t { half_split };  // order of the rotated pairs in the Hugging Face layout

struct Arch {
  std::string_view name;             // GGUF general.architecture
  std::string_view hf_model_type;    // config.json model_type
  std::string_view hf_architecture;  // config.json architectures[0]
  Norm norm;
  Activation activation;
  Rope rope;
  std::span<const TensorSpec> model;  // once
  std::span<const TensorSpec> layer;  // in every layer
};

constexpr bool is_layer_spec(const TensorSpec& spec) { return spec.hf.find("{L}") != std::string_view::npos; }

// Unique roles; layer tensors named per layer; every per-layer axis that appears is produced by some tensor's rows and consumed by
// another's columns.
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
const Arch* arch_by_gguf_name(std::string_view name);        // nullptr: unknown
const Arch* arch_by_hf_model_type(std::string_view type);    // nullptr: unknown

// Every tensor of the model in file order (model scope first, then layer by layer); tied tensors left out.
std::vector<TensorRef> tensors(const Arch& arch, const ModelDims& dims);
const TensorSpec* find_spec(const Arch& arch, Role role);    // nullptr: this architecture has none
TensorRef tensor_ref(const Arch& arch, const ModelDims& dims, Role role, int layer);
std::int64_t parameters(const Arch& arch, const ModelDims& dims);
std::int64_t non_embedding_parameters(const Arch& arch, const ModelDims& dims);
std::int64_t kv_bytes_per_token(const ModelDims& dims, std::int64_t bytes_per_value = 2);

// Positions inside `extent` that survive when `axis` keeps the sorted indices `keep`; sizes before the cut in dims/layer.
std::vector<std::int64_t> surviving(const Extent& extent, Axis axis, std::span<const std::int64_t> keep, const ModelDims& dims,
                                    const LayerDims* layer);

// Row of the GGUF tensor that holds row `hf_row` of the Hugging Face tensor (and the other way round), per head of head_dim rows.
std::int64_t rope_permuted_row(std::int64_t hf_row, std::int64_t head_dim);
std::int64_t rope_unpermuted_row(std::int64_t gguf_row, std::int64_t head_dim);

// Inverse frequencies (D/2) of the rotary embedding, in double, with the scaling of `dims`.
std::vector<double> rope_inverse_frequencies(const ModelDims& dims);
// Divisors of theta per frequency as GGUF's rope_freqs.weight holds them; empty without scaling.
std::vector<float> rope_frequency_factors(const ModelDims& dims);

}  // namespace espalier::arch
