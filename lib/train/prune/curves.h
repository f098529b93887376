// SPDX-License-Identifier: Apache-2.0
// What every block loses with each of its sizes (plan/layer_sizes.h), from a text:
//
//   left(s)  m(s)^p, where m(s) is the share of sum_t w_t^2 || W a_t ||^2 that is missing with the s
//            best units. With a refit the others are fitted to all of it: with the units in order,
//            best first, and G = sum_t w_t^2 a_t a_t^T = L L^T, what is missing is || W L_:,>s ||^2.
//            Without one it is what the cut columns of W gave.
//   drop     how far the model is from itself without the block (block_losses.h)
//   p        from a second measurement: drop * left(h) is how far it is with the better half h
//
// a: what the consumer W reads in the dense model; w: 1 / rms of the stream behind the block. ZipLM
// (arXiv 2302.04089) judges sizes by m alone, and SPDY (2201.13096) by a quadratic of the size.
#pragma once
#include <vector>

#include "plan/layer_sizes.h"
#include "prune/criterion.h"

namespace espalier::prune {

struct CurveInput {
  const model::Transformer& model;
  const torch::Tensor& windows;  // [n, sequence]
  const Criterion& criterion;    // orders the units of the axes that it scores
  const Scores& scores;          // of a criterion that scores before the pass
  bool refits = true;
  layerwise::WalkOptions walk = {};
  std::uint64_t seed = 0;
};
// Tokens of the text, in whole windows, with each of the blocks cut and gone.
inline constexpr std::int64_t kDropTokens = 2048;
std::vector<plan::BlockCurve> measure_curves(const CurveInput& input);
// From scores alone, which add up to what is lost.
std::vector<plan::BlockCurve> curves_of_scores(const Scores& scores, const arch::Arch& arch,
                                               const arch::ModelDims& dims,
                                               const std::set<arch::Axis>& axes);

std::string curves_to_json(const std::vector<plan::BlockCurve>& curves);
std::vector<plan::BlockCurve> curves_from_json(const std::string& text, const std::string& where);

}  // namespace espalier::prune
