// SPDX-License-Identifier: Apache-2.0
// Sums over calibration text for criteria, collected in one walk. A statistic is one file in
// statistics/ and one line in statistics.inc. A walk collects the union of what is asked for.
#pragma once
#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "layerwise/normal_equations.h"
#include "layerwise/walk.h"

namespace espalier::prune {

// Sums by name and layer; layer -1: of the model. The statistics choose the names.
struct Sums {
  std::map<std::pair<std::string, int>, torch::Tensor> all;

  void add(const std::string& name, int layer, const torch::Tensor& value);
  const torch::Tensor& at(const std::string& name, int layer) const;
};
std::string sum_name(arch::Axis axis, const char* what);  // "ffn.squares"
std::string sum_name(arch::Role role, const char* what);  // "ffn_down.gradients"

struct Statistic {
  std::string_view name;
  // It adds what the readers of a block read, or what the consumer reads.
  bool inputs = false, inner = false;
  bool backward = false;  // it reads gradients, so the walk goes back as well
  // What it holds at a time.
  std::int64_t (*bytes)(const arch::Arch& arch, const arch::ModelDims& dims) = nullptr;
  // Adds such a value; with `backward` also its gradient, which is undefined otherwise.
  void (*add)(Sums& sums, const model::BlockInput& input, int layer, const torch::Tensor& value,
              const torch::Tensor& gradient) = nullptr;
  // With `backward`: adds the gradient of one weight, from one window.
  void (*add_weight)(Sums& sums, arch::Role role, int layer,
                     const torch::Tensor& gradient) = nullptr;
  // The same sums of one block, from what a pruning pass adds up for its refit. null: such a pass
  // cannot give them.
  void (*of_block)(Sums& sums, const arch::Block& block, int layer,
                   const layerwise::NormalEquations& equations) = nullptr;
};
using StatisticNames = std::set<std::string_view>;
std::span<const Statistic* const> all_statistics();
const Statistic& statistic_by_name(std::string_view name);
bool any_backward(const StatisticNames& wanted);
std::int64_t bytes_of(const StatisticNames& wanted, const arch::Arch& arch,
                      const arch::ModelDims& dims);
// The largest number of channels that the block's consumer reads in any layer.
std::int64_t widest(const arch::ModelDims& dims, const arch::Block& block);
// The stream's channels and, of one layer at its widest, those that consumers read.
std::int64_t channels_read(const arch::Arch& arch, const arch::ModelDims& dims);

// Called when the sums of a layer are complete, while its weights are in memory. The layer's sums
// are freed afterwards. Layers come from first to last, or from last to first in a walk back.
using LayerDone = std::function<void(const model::Transformer& model, const Sums& sums, int layer)>;

// Says what the sums take, and collects them in a walk; in a walk back where a statistic reads
// gradients. `forward` are further visitors of the walk from first to last. A walk back is not
// kept in options.work.
Sums collect(const model::Transformer& model, const torch::Tensor& windows,
             const StatisticNames& wanted, layerwise::WalkOptions options,
             const LayerDone& done = {}, std::vector<layerwise::Visitor*> forward = {});

}  // namespace espalier::prune
