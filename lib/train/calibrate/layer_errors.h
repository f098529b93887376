// SPDX-License-Identifier: Apache-2.0
// What rounding a matrix does to the model, not to the matrix: the error that it adds to the output
// of its layer, in nats of KL divergence.
//
// A few windows of the text go through the exact model. In each layer every matrix is rounded
// alone, and the layer is computed again:
//
//   e = mean_t ||y'_t - y_t||^2 / ||y_t||^2        y: the residual stream after the layer
//
// The norm that reads the stream divides by its length, hence the weight. Some matrices, evenly
// spread, are followed through the rest of the model to the divergence of its logits,
// D = mean_t KL(exact || rounded alone). A line log(D / e) = a + b * layer is fitted to them. It
// turns e of every matrix into nats. The output matrix and the embedding are followed themselves.
//
// While errors are small, divergences of matrices add up, and each is in proportion to the error of
// the matrix' own outputs (linearity: Malinovskii et al. 2024, arXiv 2411.17525). So one format is
// enough to know all.
//
// Errors are measured with Q4_0, or MXFP4 for a matrix that Q4_0 cannot hold or holds exactly.
// A matrix whose rows are no whole blocks of 32 is not measured: it has no other format than a
// float.
#pragma once
#include <cstdint>
#include <map>
#include <utility>

#include "checkpoint/checkpoint.h"
#include "core/progress.h"
#include "data/mixture.h"
#include "quant/imatrix.h"
#include "quant/measured_errors.h"

namespace espalier::calibrate {

struct LayerErrors {
  using Key = std::pair<arch::Role, int>;
  quant::MeasuredErrors nats;         // of every matrix that is measured
  std::map<Key, double> added;        // e of the matrices of layers
  std::map<Key, double> followed;     // D of those that were followed
  std::map<Key, double> own_outputs;  // of the same: relative error of the matrix' own outputs.
  // Spearman's, of the nats with D, over the followed matrices of layers. The nats of each are by a
  // line that is fitted to the others. 0: fewer than three.
  double rank_correlation = 0;
  double rank_correlation_of_own = 0;  // of own_outputs with D
};
// Reads the beginnings of the first windows that the options draw. `imatrix` weighs the rounding
// where it has statistics.
LayerErrors measure_layer_errors(const checkpoint::Checkpoint& source, const data::Mixture& texts,
                                 const text::CalibrationOptions& options,
                                 const quant::Imatrix& imatrix, int threads,
                                 const core::Progress& progress);
// Predicted peak memory, with `held` bytes that the caller keeps meanwhile.
std::int64_t layer_errors_memory(const arch::Arch& arch, const arch::ModelDims& dims,
                                 std::int64_t held);

// Of the ranks; equal values share their mean rank. 0: one of them is constant.
double rank_correlation(const std::vector<double>& a, const std::vector<double>& b);

}  // namespace espalier::calibrate
