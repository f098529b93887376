// SPDX-License-Identifier: Apache-2.0
// The models that tests/support/wrong_models.py makes for transformers, made for the training side:
// each is wrong in one thing. Needs LibTorch.
#pragma once
#include <string>
#include <utility>
#include <vector>

#include "arch/factors.h"
#include "model/transformer.h"
#include "support/golden_models.h"

namespace espalier::support {

inline std::vector<std::pair<std::string, model::Transformer>> negative_controls(
    const checkpoint::Checkpoint& source) {
  torch::NoGradGuard no_grad;
  using arch::Role;
  const arch::ModelDims& dims = source.dims();
  const auto with = [&](const arch::ModelDims& other) {
    model::Transformer out(source.arch(), other, {});
    const model::Transformer right = model::Transformer::load(source, {});
    for (const auto& [key, value] : right.weights()) out.weight(key.first, key.second).copy_(value);
    return out;
  };
  std::size_t first = 0, last = dims.layers.size() - 1;  // with attention, with an FFN
  while (dims.layers[first][arch::Axis::kv_groups] == 0) ++first;
  while (dims.layers[last][arch::Axis::ffn] == 0) --last;
  model::Transformer shuffled = with(dims), silent = with(dims);
  torch::Tensor q =
      shuffled
          .weight(arch::find_block(source.arch(), arch::BlockKind::attention)->readers.front(),
                  static_cast<int>(first))
          .narrow(0, 0,
                  dims.layers[first][arch::Axis::kv_groups] *
                      dims.layers[first][arch::Axis::q_per_kv] * dims.head_dim);
  q.copy_(q.flip(0));
  silent.weight(Role::ffn_down, static_cast<int>(last)).zero_();
  std::vector<std::pair<std::string, model::Transformer>> out;
  out.emplace_back("q_rows", std::move(shuffled));
  out.emplace_back("zero_mlp", std::move(silent));
  arch::ModelDims other = dims;
  if (arch::learned_positions(source.arch())) {
    out.emplace_back("positions", with(dims));
    torch::Tensor& table = out.back().second.weight(Role::pos_embd, -1);
    table.copy_(table.flip(0));
    return out;
  }
  other.rope_theta *= 3;
  other.local_rope_theta *= 3;
  out.emplace_back("rope_base", with(other));
  if (dims.rope_linear != 1) {
    other = dims;
    other.rope_linear = 1;
    out.emplace_back("rope_scaling", with(other));
  }
  for (const arch::Factor& factor : arch::kFactors) {
    if (!factor.stated_by(source.arch())) continue;
    other = dims;
    other.*factor.value = arch::ModelDims{}.*factor.value;
    out.emplace_back(source.arch().keys.*factor.config, with(other));
  }
  return out;
}

}  // namespace espalier::support
