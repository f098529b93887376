// Calibration statistics for quantization: mean squared activation per input channel of each matrix, in the GGUF layout of llama.cpp's
// imatrix files (general.type = "imatrix"; tensors "<weight>.in_sum2" [cols] and "<weight>.counts" [1]); plus, in ours only, the full
// second-moment matrix of a tensor's inputs when gptq rounding wants it ("<weight>.in_gram" [cols, cols]).
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "arch/arch.h"

namespace espalier::quant {

struct TensorStatistics {
  std::vector<double> sum_squares;  // per input channel, over all tokens
  std::vector<float> gram;          // sum of x x^T, cols*cols row-major; empty when not collected. float after accumulation in double or blocks
  double tokens = 0;
};

struct Imatrix {
  std::map<std::pair<arch::Role, int>, TensorStatistics> tensors;
  std::int64_t tokens = 0;
  std::string text_sha256;
  const TensorStatistics* find(arch::Role role, int layer) const;
};

void write_imatrix(const Imatrix& imatrix, const std::string& path, bool with_gram);
Imatrix read_imatrix(const std::string& path, const arch::Arch& arch, const arch::ModelDims& dims);

}  // namespace espalier::quant
