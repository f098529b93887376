// SPDX-License-Identifier: Apache-2.0
// Directions of the residual stream in place of its channels. An RMSNorm divides a token by the
// length of its stream, which no rotation Q changes:
//
//   W (g * x / rms(x))  =  (W diag(g) Q) (Q^T x / rms(Q^T x))
//
// So a model computes the same when the gains g go into the matrices that read behind the norms,
// and these are multiplied by Q. All that writes to the stream is turned: embeddings E Q, consumers
// Q^T W and their biases Q^T b. One Q turns the whole model, which stays of its family. Ashkboos et
// al. 2024, "SliceGPT: Compress Large Language Models by Deleting Rows and Columns", arXiv
// 2401.15024, has one Q for each block and a further matrix between blocks.
//
// Q holds the eigenvectors of the mean over all norms of the model of
//
//   E[ x x^T / rms(x)^2 ]
//
// by falling eigenvalue. So the first channels of the turned model are those that stay.
//
// A norm over K of H channels takes the mean of fewer squares. With s = sqrt(K / H) the stream is
// multiplied by s and the gains are divided by it. Then what is cut only matters as far as it is
// not zero.
//
// A tied output matrix becomes one of its own, because the gain of the last norm goes into it
// alone. LayerNorm also subtracts a mean, and the gain of a norm behind a block writes to the
// stream itself: neither lets a rotation pass, so such families are refused.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "layerwise/walk.h"
#include "prune/pruner.h"
#include "surgery/surgery.h"

namespace espalier::prune {

// Whether the criterion cuts directions, and the stream has to be turned first.
bool turns_stream(const PruneOptions& options);
// The sizes of the model that is cut: this one, or the turned one. Error(unsupported) where the
// family lets no rotation pass.
arch::ModelDims dims_to_cut(const PruneOptions& options, const arch::Arch& arch,
                            const arch::ModelDims& dims);
// Error(usage) for such a criterion where the hidden size is not given.
void require_hidden(const PruneOptions& options);
// Error(usage) for such a criterion where scores alone are asked for.
void require_channels(const std::string& criterion);
// Error(unsupported) with the reason.
void require_turnable(const arch::Arch& arch, const arch::ModelDims& dims);

struct Directions {
  torch::Tensor basis;          // Q [H, H] float64, a direction in each column
  std::vector<double> moments;  // the share of each, falling; their sum is 1
};
Directions principal_directions(const model::Transformer& model, const torch::Tensor& windows,
                                layerwise::WalkOptions walk);
// The turned model as a directory of float32.
void write_turned(const checkpoint::Checkpoint& source, const torch::Tensor& basis,
                  const std::string& directory, const core::Progress& progress);
// 1 / s of a turned stream that is cut to `after` channels; 1 for another criterion.
double gain_factor(const PruneOptions& options, std::int64_t before, std::int64_t after);
// What to change in all tensors for such a factor of the gains. Empty for 1.
surgery::Replacement::Adjust scale_stream(const arch::Arch& arch, double factor);

// Turns the source in directory/checkpoint, which holds the turned model until `cut` has pruned it
// into `directory`. `cut` keeps its own state in the folder that it is given.
using CutTurned = std::function<PruneResult(const checkpoint::Checkpoint& turned,
                                            const std::string& work_folder)>;
PruneResult prune_turned(const checkpoint::Checkpoint& source, const torch::Tensor& windows,
                         const std::string& directory, const PruneOptions& options,
                         const core::Progress& progress, const CutTurned& cut);
std::int64_t turning_memory(const arch::Arch& arch, const arch::ModelDims& dims,
                            const text::CalibrationOptions& calibration);

}  // namespace espalier::prune
