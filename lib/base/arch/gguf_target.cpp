// SPDX-License-Identifier: Apache-2.0
// Which GGUF architecture stock readers compute a model as, and which sizes they would misread.
#include <cmath>
#include <numeric>
#include <string>

#include "arch/gguf_dims.h"
#include "arch/gguf_windows.h"
#include "core/error.h"

namespace espalier::arch {
namespace {

// The numbers of layers of the 27B models. At these numbers, stock readers of Gemma files use 1 /
// sqrt(hidden / heads) as the attention scale.
constexpr std::int64_t kGemma2Layers = 46, kGemma3Layers = 62;
// Channels of a block that is written only for the sake of readers: whole blocks of every format.
constexpr std::int64_t kFiller = 256;

}  // namespace

double gguf_attention_scale(const Arch& arch, const ModelDims& dims) {
  if (!arch.keys.attention_factor.empty()) return attention_scale(dims);
  const bool large = (arch.gguf == "gemma2" && dims.n_layers() == kGemma2Layers) ||
                     (arch.gguf == "gemma3" && dims.n_layers() == kGemma3Layers);
  const LayerDims& first = dims.layers.front();
  return 1 / std::sqrt(static_cast<double>(large ? dims.hidden / (first.heads()) : dims.head_dim));
}

const Arch& gguf_family_for(const Arch& arch, const ModelDims& dims) {
  const auto misread = [&](const std::string& what) {
    core::fail(core::ErrorKind::unsupported, arch.name, " as GGUF: ", what);
  };
  if (!arch.unequal_layers && (!dims.uniform() || lacks_blocks(arch, dims))) {
    const Arch* deci = as_unequal_layers(arch, dims);
    if (deci == nullptr)
      misread("layers have unequal sizes: stock readers of '" + std::string(arch.gguf) +
              "' expect one size for all layers, and stock readers of 'deci' compute only Llama's "
              "blocks");
    return gguf_family_for(*deci, dims);
  }
  if (arch.name != arch.gguf) {
    for (const LayerDims& l : dims.layers)
      ESP_CHECK(!l.local || dims.window >= dims.positions, unsupported, arch.name,
                " as GGUF: attention over a window of ", dims.window, " in a context of ",
                dims.positions, " positions: the architecture '", arch.gguf,
                "' of stock readers has no windows; set max_position_embeddings in config.json to ",
                dims.window, " or less (up to there both compute the same)");
    return gguf_family_for(*arch_by_gguf_name(arch.gguf), dims);
  }
  for (std::int64_t l = 0; l < dims.n_layers(); ++l) {
    const LayerDims& layer = dims.layers[static_cast<std::size_t>(l)];
    for (const Block& block : arch.blocks)
      if (!arch.absent_blocks && !block.in(layer))
        misread("layer " + std::to_string(l) + " has no " + std::string(block_name(block.kind)) +
                ", but stock readers need both in every layer");
    if (arch.heads_fill_hidden && layer.heads() * dims.head_dim != dims.hidden)
      misread("layer " + std::to_string(l) + " has " + std::to_string(layer.heads()) +
              " heads of " + std::to_string(dims.head_dim) + " values and hidden is " +
              std::to_string(dims.hidden) +
              ", but stock readers assume hidden = heads x head_dim; cut kv_groups and hidden in "
              "proportion");
    if (layer.rope != rope_by_default(arch, l))
      misread("layer " + std::to_string(l) + " has " + (layer.rope ? "" : "no ") +
              "rotary positions, but stock readers omit them in every " +
              std::to_string(arch.no_rope_period) +
              "th layer; keep that period when dropping layers");
    const bool seen_whole = states_window(arch) && dims.window >= dims.positions;
    if (layer.local && !has_window_keys(arch) && !seen_whole)
      misread("attention over a window in layer " + std::to_string(l) + ": stock readers of '" +
              std::string(arch.gguf) + "' have no windows" +
              (states_window(arch) ? "; set max_position_embeddings in config.json to " +
                                         std::to_string(dims.window) +
                                         " or less (up to there both compute the same)"
                                   : ""));
  }
  // Stock readers of qwen2 assume hidden = heads x head_dim. Readers of llama, which has the biases
  // too, assume nothing.
  if (arch.gguf == "qwen2") {
    const LayerDims& l = dims.layers.front();
    if (l.heads() * dims.head_dim != dims.hidden) return *arch_by_gguf_name("llama");
  }
  if ((dims.output_bias || dims.mlp_bias) && !arch.gguf_biases)
    misread("stock readers of '" + std::string(arch.gguf) + "' read only the biases of q, k and v");
  if (dims.rope_scaling.factor != 1 && !arch.gguf_rope_freqs)
    misread("stock readers of '" + std::string(arch.gguf) +
            "' do not read rope_freqs.weight, so the llama3 scaling would be lost");
  if (arch.gguf == "nemotron" && dims.tied)
    misread("stock readers need an output matrix, but this model uses the embedding as output");
  if ((arch.gguf == "gemma2" || arch.gguf == "openelm") && !dims.tied)
    misread("stock readers use the embedding as the output matrix, but this model has its own");
  return arch;
}

ModelDims gguf_dims_for(const Arch& target, const ModelDims& dims) {
  ModelDims out = dims;
  if (target.gguf != "deci") return out;
  LayerDims& first = out.layers.front();
  if (first.heads() == 0) {
    first[Axis::kv_groups] = 1;
    first[Axis::q_per_kv] = kFiller / std::gcd(kFiller, dims.head_dim);
  }
  for (LayerDims& l : out.layers)
    if (l[Axis::ffn] == 0 && (l[Axis::kv_groups] > 0 || &l == &out.layers.back()))
      l[Axis::ffn] = kFiller;
  return out;
}

}  // namespace espalier::arch
