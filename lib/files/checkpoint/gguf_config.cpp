// SPDX-License-Identifier: Apache-2.0
// Sizes as GGUF metadata, with the checks that matter only to a checkpoint. arch/gguf_dims.h
// defines the keys.
#include <cmath>

#include "arch/gguf_dims.h"
#include "checkpoint/checkpoint.h"
#include "core/error.h"

namespace espalier::checkpoint {

void dims_to_gguf(const arch::Arch& arch, const arch::ModelDims& dims, format::GgufWriter& writer) {
  arch::write_gguf_model(arch, dims, writer);
}

ParsedConfig dims_from_gguf(const format::GgufHeader& header) {
  const arch::GgufModel model = arch::read_gguf_model(header);
  const arch::RopeScaling& s = model.dims.rope_scaling;
  ESP_CHECK(std::isfinite(s.factor) && s.factor > 0 && std::isfinite(s.low_freq_factor) &&
                s.low_freq_factor > 0 && std::isfinite(s.high_freq_factor) &&
                s.high_freq_factor > s.low_freq_factor && s.original_positions > 0,
            input, header.path(), ": keys espalier.rope.*: impossible scaling: factor ", s.factor,
            ", low ", s.low_freq_factor, ", high ", s.high_freq_factor, ", original positions ",
            s.original_positions);
  return {model.arch, model.dims, model.long_factors};
}

}  // namespace espalier::checkpoint
