// SPDX-License-Identifier: Apache-2.0
// A random Llama of any sizes and a forward pass over it as the paper has it: whole sequences,
// double precision, Hugging Face's row order and half-split rotation, no cache, nothing of the
// runtime's code. The runtime reads the same weights from a GGUF, where the rows of q and k are in
// ggml's order.
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "arch/arch.h"
#include "format/quant_format.h"
#include "support/layer_sizes.h"

namespace espalier::support {

struct PlainModel {
  arch::ModelDims dims;
  std::map<std::string, std::vector<float>> tensors;  // by GGUF name, rows in Hugging Face's order

  std::vector<float>& tensor(arch::Role role, int layer = -1) {
    return tensors.at(arch::gguf_name(role, layer));
  }
  const std::vector<float>& tensor(arch::Role role, int layer = -1) const {
    return tensors.at(arch::gguf_name(role, layer));
  }
};

struct PlainSizes {
  std::int64_t vocab = 131, hidden = 72, head_dim = 12, positions = 1024;
  std::vector<LayerSizes> layers = {{3, 2, 100}, {3, 2, 100}};
  bool tied = true;
  double rope_theta = 10000;
};
// Scaled so that logits have a standard deviation above 0.8 and attention is not flat.
PlainModel random_model(const PlainSizes& sizes, std::uint64_t seed);

// Writes the model with its matrices in `format` (vectors F32) and, when the vocabulary has at
// least 259 tokens, a byte-level tokenizer. The model's tensors become the values that the file
// holds.
void write_gguf(PlainModel& model, const std::string& path,
                format::FormatId format = format::FormatId::f32);

// Logits [T, V].
std::vector<double> plain_logits(const PlainModel& model, const std::vector<std::int32_t>& tokens);

std::vector<std::int32_t> random_tokens(std::int64_t n, std::int64_t vocab, std::uint64_t seed);
double standard_deviation(const std::vector<double>& values);
// |a - b| / |b| over all values.
double relative_difference(const std::vector<double>& a, const std::vector<double>& b);

}  // namespace espalier::support
