// SPDX-License-Identifier: Apache-2.0
// Calibration for quantization: the model reads text and the inputs of every matrix are summed up
// into an Imatrix.
#pragma once
#include <cstdint>

#include "checkpoint/checkpoint.h"
#include "core/progress.h"
#include "data/corpus.h"
#include "quant/imatrix.h"

namespace espalier::calibrate {

struct CalibrateOptions {
  std::int64_t tokens = 32768, sequence = 512;
  std::uint64_t seed = 0;
  bool gram = false;  // also the full second moments, for gptq rounding
};
// Streams the text through the model layer by layer. The output matrix (or tied embedding) gets the
// statistics of the final normed hidden. Windows of `sequence` tokens drawn with the seed; whole
// windows only.
quant::Imatrix collect_imatrix(const checkpoint::Checkpoint& source, const data::Corpus& corpus,
                               const CalibrateOptions& options, const core::Progress& progress);

}  // namespace espalier::calibrate
