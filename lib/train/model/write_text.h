// SPDX-License-Identifier: Apache-2.0
// Text that a model writes itself, as ids: a calibration text without a corpus. Each sequence
// begins with BOS, and each next token is drawn from the model's distribution at temperature 1.
// After an EOS another BOS follows. Liu et al. 2023, "LLM-QAT: Data-Free Quantization Aware
// Training for Large Language Models", arXiv 2305.17888.
//
// Sequences are computed in groups, each by one thread, and each draws from a random stream of its
// own. So the ids depend on the seed alone, not on the number of threads. The whole model is in
// memory, and the keys and values of the groups that are computed.
#pragma once
#include <cstdint>
#include <optional>

#include "model/transformer.h"

namespace espalier::model {

struct WrittenText {
  std::int64_t sequences = 1, length = 512;  // tokens of each sequence
  std::int32_t first = 0;                    // BOS, or what stands for it
  std::optional<std::int32_t> end = {};      // EOS
  std::uint64_t seed = 0;
};
// int64 [sequences, length].
torch::Tensor write_text(const Transformer& model, const WrittenText& options);
std::int64_t write_text_bytes(const arch::Arch& arch, const arch::ModelDims& dims,
                              const WrittenText& options, int threads);

}  // namespace espalier::model
