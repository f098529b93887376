// SPDX-License-Identifier: Apache-2.0
// Calibration for quantization. The model reads a text, and an Imatrix sums up the inputs of every
// matrix.
#pragma once
#include <cstdint>

#include "checkpoint/checkpoint.h"
#include "checkpoint/work_folder.h"
#include "core/progress.h"
#include "data/mixture.h"
#include "quant/imatrix.h"

namespace espalier::calibrate {

enum class Moments : std::uint8_t {
  squares,  // of each input
  gram,     // and of each pair of inputs, which gptq rounding needs
  output,   // the same of the output matrix alone: SequentialRounding adds up the layers' itself
};
// Predicted peak memory of collect_imatrix(), and of rounding with SequentialRounding after it.
std::int64_t imatrix_memory(const arch::Arch& arch, const arch::ModelDims& dims,
                            const text::CalibrationOptions& options, Moments moments);
std::int64_t rounding_memory(const arch::Arch& arch, const arch::ModelDims& dims,
                             const text::CalibrationOptions& options, Moments moments);

// Streams the texts through the model layer by layer. It reads whole windows of `sequence` tokens,
// drawn with the seed. The output matrix (or tied embedding) gets the statistics of the final
// normed hidden state. A killed run goes on with the same bits where `work` names a folder; the
// caller removes that.
quant::Imatrix collect_imatrix(const checkpoint::Checkpoint& source, const data::Mixture& texts,
                               const text::CalibrationOptions& options, Moments moments,
                               const core::Progress& progress,
                               const checkpoint::WorkOptions& work = {});

}  // namespace espalier::calibrate
