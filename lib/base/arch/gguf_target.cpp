// SPDX-License-Identifier: Apache-2.0
// Which GGUF architecture stock readers compute a model as, and which sizes they would misread.
#include <cmath>
#include <string>

#include "arch/gguf_dims.h"
#include "arch/gguf_windows.h"
#include "core/error.h"

namespace espalier::arch {

double gguf_attention_scale(const Arch& arch, const ModelDims& dims) {
  if (!arch.keys.attention_factor.empty()) return attention_scale(dims);
  const bool by_hidden = dims.n_layers() == arch.gguf_hidden_scale_layers;
  const LayerDims& first = dims.layers.front();
  return 1 /
         std::sqrt(static_cast<double>(by_hidden ? dims.hidden / (first.heads()) : dims.head_dim));
}

const Arch& gguf_family_for(const Arch& arch, const ModelDims& dims) {
  const auto misread = [&](const std::string& what) {
    core::fail(core::ErrorKind::unsupported, arch.name, " as GGUF: ", what);
  };
  if (!arch.unequal_layers && (!dims.uniform() || lacks_blocks(arch, dims))) {
    const Arch* other = as_unequal_layers(arch, dims);
    if (other == nullptr)
      misread("layers have unequal sizes: stock readers of '" + std::string(arch.gguf) +
              "' expect one size for all layers, and no architecture with a size for each layer "
              "computes the same");
    return gguf_family_for(*other, dims);
  }
  if (arch.name != arch.gguf) {
    for (const LayerDims& l : dims.layers)
      ESP_CHECK(!l.local || window_sees_all(dims), unsupported, arch.name,
                " as GGUF: attention over a window of ", dims.window, " in a context of ",
                dims.positions, " positions: the architecture '", arch.gguf,
                "' of stock readers has no windows; set max_position_embeddings in config.json to ",
                dims.window, " or less (up to there both compute the same)");
    return gguf_family_for(*arch_by_gguf_name(arch.gguf), dims);
  }
  for (std::int64_t l = 0; l < dims.n_layers(); ++l) {
    const LayerDims& layer = dims.layers[static_cast<std::size_t>(l)];
    for (const Block& block : arch.blocks)
      if (!arch.absent_blocks && lacks(arch, block, layer))
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
    if (layer.local && !has_window_keys(arch) && !window_sees_all(dims))
      misread("attention over a window in layer " + std::to_string(l) + ": stock readers of '" +
              std::string(arch.gguf) +
              "' have no windows; set max_position_embeddings in config.json to " +
              std::to_string(dims.window) + " or less (up to there both compute the same)");
  }
  if (!arch.gguf_other_heads.empty() && dims.layers.front().heads() * dims.head_dim != dims.hidden)
    return *arch_by_gguf_name(arch.gguf_other_heads);
  if ((dims.output_bias || dims.mlp_bias) && !arch.gguf_biases)
    misread("stock readers of '" + std::string(arch.gguf) + "' read only the biases of q, k and v");
  if (dims.rope_scaling.factor != 1 && !arch.gguf_rope_freqs)
    misread("stock readers of '" + std::string(arch.gguf) +
            "' do not read rope_freqs.weight, so the llama3 scaling would be lost");
  if (arch.gguf_output == GgufOutput::own && dims.tied)
    misread("stock readers need an output matrix, but this model uses the embedding as output");
  if (arch.gguf_output == GgufOutput::embedding && !dims.tied)
    misread("stock readers use the embedding as the output matrix, but this model has its own");
  return arch;
}

ModelDims gguf_dims_for(const Arch& target, const ModelDims& dims) {
  ModelDims out = dims;
  if (target.fill_for_readers != nullptr) target.fill_for_readers(out);
  return out;
}

}  // namespace espalier::arch
