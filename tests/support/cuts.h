// SPDX-License-Identifier: Apache-2.0
// A small model of any family and what can be cut from it, for the tables of what readers make of
// the rest.
#pragma once
#include <functional>
#include <string_view>
#include <vector>

#include "arch/arch.h"
#include "arch/factors.h"
#include "support/layer_sizes.h"

namespace espalier::support {

// Heads x head_dim is hidden; everything that a family has by itself is there.
inline arch::ModelDims whole(const arch::Arch& a) {
  arch::ModelDims d;
  d.vocab = 512;
  d.hidden = 256;
  d.head_dim = 64;
  d.positions = 512;
  const bool no_groups = a.keys.groups.empty();
  d.layers.assign(8, layer_sizes(no_groups ? 4 : 2, no_groups ? 1 : 2, 512));
  for (std::size_t l = 0; l < d.layers.size(); ++l) {
    const auto index = static_cast<std::int64_t>(l);
    d.layers[l].rope = arch::rope_by_default(a, index);
    d.layers[l].local = a.window_period > arch::kOnlyListed &&
                        a.window_period != arch::kEveryLayer && arch::local_by_default(a, index);
    if (d.layers[l].local) d.window = 64;
  }
  d.tied = a.defaults.tied;
  d.local_rope_theta = a.defaults.local_rope_theta;
  d.attention_softcap = a.defaults.attention_softcap;
  d.logit_softcap = a.defaults.logit_softcap;
  for (const arch::Factor& factor : arch::kFactors)
    if (factor.stated_by(a)) d.*factor.value = 0.25;
  return d;
}

struct Cut {
  const char* name;
  std::function<void(arch::ModelDims&)> apply;
};
inline void groups(arch::ModelDims& d, std::int64_t divisor) {
  for (arch::LayerDims& l : d.layers) l[arch::Axis::kv_groups] /= divisor;
}
inline const std::vector<Cut>& cuts() {
  static const std::vector<Cut> all{
      {"nothing", [](arch::ModelDims&) {}},
      {"vocab", [](arch::ModelDims& d) { d.vocab = 400; }},
      {"ffn",
       [](arch::ModelDims& d) {
         for (arch::LayerDims& l : d.layers) l[arch::Axis::ffn] = 256;
       }},
      {"hidden", [](arch::ModelDims& d) { d.hidden = 192; }},
      {"hidden, no multiple of the heads", [](arch::ModelDims& d) { d.hidden = 202; }},
      {"kv_groups", [](arch::ModelDims& d) { groups(d, 2); }},
      {"q_per_kv",
       [](arch::ModelDims& d) {
         for (arch::LayerDims& l : d.layers) l[arch::Axis::q_per_kv] = 1;
       }},
      {"hidden and kv_groups in proportion",
       [](arch::ModelDims& d) {
         groups(d, 2);
         d.hidden = 128;
       }},
      {"layers, the last one", [](arch::ModelDims& d) { d.layers.pop_back(); }},
      {"layers, the third", [](arch::ModelDims& d) { d.layers.erase(d.layers.begin() + 2); }},
      {"ffn of one layer", [](arch::ModelDims& d) { d.layers[1][arch::Axis::ffn] = 256; }},
      {"one whole FFN", [](arch::ModelDims& d) { d.layers[1][arch::Axis::ffn] = 0; }},
      {"one whole attention",
       [](arch::ModelDims& d) {
         d.layers[1][arch::Axis::kv_groups] = d.layers[1][arch::Axis::q_per_kv] = 0;
       }},
  };
  return all;
}

// `whole` with one of the cuts, by its name.
inline arch::ModelDims cut_by(const arch::Arch& a, std::string_view name) {
  arch::ModelDims d = whole(a);
  for (const Cut& cut : cuts())
    if (name == cut.name) {
      cut.apply(d);
      return d;
    }
  return {};
}

}  // namespace espalier::support
