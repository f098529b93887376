// SPDX-License-Identifier: Apache-2.0
// y = W x. Decodes a row to float, 256 values at a time, and multiplies it with the float
// activations.
#include <Eigen/Core>

#include "format/quant_format.h"
#include "kernels/reference/reference.h"

namespace espalier::kernels::reference {
namespace {

template <WeightFormat kFormat>
void matmul(const WeightView& w, const ActivationView& x, std::int64_t row_begin,
            std::int64_t row_end, float* y, std::int64_t ldy) {
  using Vector = Eigen::Map<const Eigen::VectorXf>;
  const format::QuantFormat& f = format::info(static_cast<format::FormatId>(kFormat));
  float values[kChunk];
  for (std::int64_t row = row_begin; row < row_end; ++row) {
    for (std::int64_t t = 0; t < x.n; ++t) y[t * ldy + row] = 0;
    const unsigned char* bytes = w.data + row * w.group_bytes;
    for (std::int64_t c = 0; c < w.cols; c += kChunk) {
      const std::int64_t n = w.cols - c < kChunk ? w.cols - c : kChunk;
      f.decode(reinterpret_cast<const std::byte*>(bytes + c / f.block * f.block_bytes), values, n);
      for (std::int64_t t = 0; t < x.n; ++t)
        y[t * ldy + row] += Vector(values, n).dot(Vector(x.f32 + t * x.cols + c, n));
    }
  }
}

template <WeightFormat kFormat>
void matvec(const WeightView& w, const ActivationView& x, std::int64_t row_begin,
            std::int64_t row_end, float* y) {
  matmul<kFormat>(w, x, row_begin, row_end, y, w.rows);
}

}  // namespace

void fill_linear(KernelTable& table) {
#define ESP_FORMAT(name, gguf_type) \
  table.linear[k_##name] = {1, ActivationForm::f32, matvec<k_##name>, matmul<k_##name>};
#include "format/formats.inc"
#undef ESP_FORMAT
}

}  // namespace espalier::kernels::reference

namespace espalier::kernels {

void fill_reference(KernelTable& table) {
  reference::fill_linear(table);
  reference::fill_quantize(table);
  reference::fill_steps(table.steps);
  reference::fill_peak(table);
}

}  // namespace espalier::kernels
