// SPDX-License-Identifier: Apache-2.0
// Calibration for quantization. The model reads a text, and an Imatrix sums up the inputs of every
// matrix.
#pragma once
#include <cstdint>

#include "checkpoint/checkpoint.h"
#include "checkpoint/work_folder.h"
#include "core/progress.h"
#include "data/corpus.h"
#include "quant/imatrix.h"

namespace espalier::calibrate {

struct CalibrateOptions {
  std::int64_t tokens = 32768, sequence = 512;
  std::uint64_t seed = 0;
  bool gram = false;  // also the full second moments, for gptq rounding
};
// Streams the text through the model layer by layer. It reads whole windows of `sequence` tokens,
// drawn with the seed. The output matrix (or tied embedding) gets the statistics of the final
// normed hidden state. A killed run goes on with the same bits where `work` names a folder; the
// caller removes that.
quant::Imatrix collect_imatrix(const checkpoint::Checkpoint& source, const data::Corpus& corpus,
                               const CalibrateOptions& options, const core::Progress& progress,
                               const checkpoint::WorkOptions& work = {});

}  // namespace espalier::calibrate
