// SPDX-License-Identifier: Apache-2.0
// Reads in place, or block by block through the buffer.
#include "model/host_rows.h"

#include <algorithm>

#include "core/error.h"

namespace espalier::model {

using torch::Tensor;

float* host_values(const Tensor& tensor) {
  ESP_CHECK(tensor.is_cpu() && tensor.is_contiguous(), internal,
            "files are read into contiguous memory of the host, not of ", tensor.device().str());
  return tensor.mutable_data_ptr<float>();
}

void HostRows::read(arch::Role role, int layer, std::int64_t begin, const Tensor& out) {
  if (out.numel() == 0 || out.is_meta()) return;
  if (out.is_cpu()) {
    source_.read_rows(role, layer, begin, out.size(0), host_values(out));
  } else {
    read_through(role, layer, begin, out);
  }
}

void HostRows::read_through(arch::Role role, int layer, std::int64_t begin, const Tensor& out,
                            std::int64_t values) {
  const torch::NoGradGuard no_grad;
  const std::int64_t rows = out.size(0), width = out.numel() / rows,
                     most = std::clamp<std::int64_t>(values / width, 1, rows);
  if (!buffer_.defined() || buffer_.numel() < most * width)
    buffer_ = torch::empty({most * width},
                           torch::TensorOptions(torch::kFloat32).pinned_memory(out.is_cuda()));
  for (std::int64_t first = 0; first < rows; first += most) {
    const std::int64_t n = std::min(most, rows - first);
    source_.read_rows(role, layer, begin + first, n, host_values(buffer_));
    const Tensor to = out.narrow(0, first, n);
    to.copy_(buffer_.narrow(0, 0, n * width).view(to.sizes()));
  }
}

}  // namespace espalier::model
