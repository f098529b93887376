// SPDX-License-Identifier: Apache-2.0
// The ridge of a matrix, chosen on windows that its fit did not see. The last windows of a text are
// held out. Their order is drawn, so they are a sample of it. Each ridge of a grid is fitted to the
// other windows, and the error of the block's output on the held-out ones decides. The final fit
// reads all windows.
//
// A solution by a larger ridge lies closer to the original weights, which have read far more text.
// So of ridges that serve the held-out windows equally well the largest is taken (kTolerance): it
// does best on text of another kind.
#pragma once
#include <torch/types.h>

#include <cstdint>
#include <span>

#include "layerwise/normal_equations.h"

namespace espalier::layerwise {

// How many of so many windows are held out: an eighth, at least one; none of a single window.
std::int64_t held_out_windows(std::int64_t windows);
// The ridge where a text has a single window, and none can be held out.
inline constexpr double kRidgeOfOneWindow = 0.2;
// The grid, ascending.
std::span<const double> ridges();
// Where a walk over the grid begins if nothing is known.
inline constexpr double kFirstRidge = 0.3;
// How much larger the error may be than the least one, as a share of what the original weights and
// the best fit differ in.
inline constexpr double kTolerance = 0.02;
// All outputs of a matrix have one ridge. Of this many and more, every fourth one chooses it.
inline constexpr std::int64_t kManyOutputs = 256, kOfManyOutputs = 4;

// The equations of both parts of a text.
struct SplitEquations {
  NormalEquations seen, held_out;  // held_out.gram is undefined where nothing is held out

  // The first `n_seen` windows of the batch are seen.
  void add(const torch::Tensor& inputs_BTN, const torch::Tensor& aim_BTM, std::int64_t n_seen,
           torch::ScalarType dtype = torch::kFloat32);
  void add_abs(const torch::Tensor& inputs_BTN) { seen.add_abs(inputs_BTN); }  // of both parts
  bool splits() const { return seen.gram.defined() && held_out.gram.defined(); }
  NormalEquations all() const;
  SplitEquations of(const torch::Tensor& channels) const;  // for some of the inputs alone
  SplitEquations with_outputs(const torch::Tensor& outputs) const;
};

// sum || t - W a ||^2 of weights [m, n], without the constant sum || t ||^2.
double output_error(const NormalEquations& equations, const torch::Tensor& weights);

// The grid's ridge for weights whose original is `prior` [m, n]. It walks over the grid from
// `first` to the least error, so a good guess saves fits.
double choose_ridge(const SplitEquations& equations, const torch::Tensor& prior,
                    double first = kFirstRidge);

}  // namespace espalier::layerwise
