// SPDX-License-Identifier: Apache-2.0
// The work of criteria that judge a model without each of its layers. Only where the training side
// is built.
#pragma once
#include "prune/pruner.h"
#include "stages/forecast.h"
#include "timing/layers.h"

namespace espalier::stages {

// Of the windows `text`. `drop` layers will go; 0: not known.
inline timing::Work losses_without_layers(const prune::CriterionFacts& criterion,
                                          const timing::Text& text, const Shape& shape,
                                          std::int64_t drop) {
  if (criterion.rounds == nullptr) return {};
  const auto layers = static_cast<double>(shape.dims.n_layers()),
             rounds = static_cast<double>(criterion.rounds(shape.dims.n_layers(), drop));
  const timing::Work pass{timing::forward({shape.arch, shape.dims}, text)},
      output{timing::output(shape.dims, text.tokens)};
  timing::Work out = (rounds * layers / 2) * pass;
  out += (rounds * (layers + 1)) * output;
  return out;
}

}  // namespace espalier::stages
