// SPDX-License-Identifier: Apache-2.0
// Sizes of every layer where only their total is given: how much of each FFN and attention block
// stays, which blocks and which layers. Blocks are judged one by one, and what they lose is added:
//
//   minimize   sum over blocks b of  loss_b(s_b)      loss_b(s) = drop_b * left_b(s)
//   such that  all parameters together are within the budget
//
// drop_b: what the model loses without the block. left_b(s): the share of it that is lost when the
// s best units of the block stay. prune/curves.h measures both. Frantar, Alistarh 2022 (SPDY),
// arXiv 2201.13096, and Kurtic, Frantar, Alistarh 2023 (ZipLM), arXiv 2302.04089, choose sizes from
// such tables. knapsack.h minimizes the sum. Sizes that all layers share are judged by the same
// sum.
#pragma once
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "plan/prune_plan.h"

namespace espalier::plan {

// Of one block that the source has.
struct BlockCurve {
  std::size_t layer = 0;
  arch::Axis axis = {};             // the block's first
  double drop = 0;                  // above 0
  std::vector<double> left;         // [n + 1] falling, from 1 without any unit to 0 with all n
  std::vector<std::int64_t> order;  // [n] the units, best first
};

// What may be chosen. Sizes of layers are those of all layers of the source, in order.
struct SizeQuestion {
  const arch::Arch& arch;
  arch::ModelDims most;                 // the largest sizes
  std::int64_t budget = 0;              // parameters
  std::set<arch::Axis> axes = {};       // whose sizes are chosen; the others are those of `most`
  std::int64_t ffn_granule = 1;         // ffn is a multiple of it, or all that the layer has
  std::vector<std::int64_t> stay = {};  // the layers that may stay
  bool fewer_layers = false;            // some of them may go
  bool blocks = false;                  // blocks may go, and layers that lose both
  bool one_size = false;                // for all layers: the family's readers know no other
  std::vector<arch::LayerDims> equal = {};  // the only equal sizes to compare with; empty: any
};
// Nothing where the target gives every size, or is met without a choice. `per_layer`: the total of
// the given sizes is shared out. `scored`: the axes that a criterion scores.
std::optional<SizeQuestion> size_question(const PruneTarget& target, bool per_layer,
                                          const std::set<arch::Axis>& scored,
                                          const arch::Arch& arch, const arch::ModelDims& before);
// Where it is known which layers stay, or that the model gets the biases of `after`.
void settle(SizeQuestion& question, const std::vector<std::int64_t>& stay,
            const arch::ModelDims& after);

struct SizeChoice {
  std::string name;                     // for people
  std::vector<arch::LayerDims> layers;  // without any block: the layer goes
  double loss = 0;                      // expected
  std::vector<std::int64_t> kept() const;
};
arch::ModelDims dims_of(const SizeQuestion& question, const SizeChoice& choice);
// Choices that are worth comparing: by the losses, by their square roots, which differ less from
// layer to layer, with all blocks, and then the best that are equal in all layers, one of them with
// all layers. Each is that of least expected loss. Error(unsupported) where none is within the
// budget.
std::vector<SizeChoice> size_choices(const SizeQuestion& question,
                                     const std::vector<BlockCurve>& curves);
// What stays of each layer: the first units of each order.
PrunePlan plan_of(const SizeChoice& choice, const std::vector<BlockCurve>& curves,
                  const arch::ModelDims& before);

}  // namespace espalier::plan
