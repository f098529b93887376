// SPDX-License-Identifier: Apache-2.0
// Rows of a checkpoint on their way to the memory of a device. On the CPU they are read where they
// stay. For another device they pass through one buffer of the host, which is page-locked for CUDA.
// The device `meta` has sizes and no values, so nothing is read for it.
#pragma once
#include <torch/types.h>

#include <cstdint>

#include "checkpoint/checkpoint.h"

namespace espalier::model {

// The values of a tensor that the host can address: float32 and contiguous. Error(internal) for
// another one.
float* host_values(const torch::Tensor& tensor);

class HostRows {
 public:
  explicit HostRows(const checkpoint::Checkpoint& source) : source_(source) {}

  // Reads the rows of a tensor from `begin` on into `out`, which says how many.
  void read(arch::Role role, int layer, std::int64_t begin, const torch::Tensor& out);
  // The same by way of the buffer, which holds `values` values, or one row where a row is longer.
  void read_through(arch::Role role, int layer, std::int64_t begin, const torch::Tensor& out,
                    std::int64_t values = std::int64_t{1} << 24);

 private:
  const checkpoint::Checkpoint& source_;
  torch::Tensor buffer_;
};

}  // namespace espalier::model
