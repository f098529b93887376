// SPDX-License-Identifier: Apache-2.0
// What the CPU does otherwise than the reference.
#include "model/ops/cpu/row.h"

namespace espalier::model::cpu {
namespace {

using torch::Tensor;

Tensor layer_norm(const Tensor& x, const Tensor& gain, const Tensor& bias, double eps) {
  return torch::layer_norm(x, {x.size(-1)}, gain, bias, eps);
}
Tensor relu_squared(const Tensor& up) { return torch::relu(up).square(); }

}  // namespace

void fill(Operations& row) {
  row.rms_norm = rms_norm;
  row.layer_norm = layer_norm;
  row.linears = linears;
  row.swiglu = swiglu;
  row.relu_squared = relu_squared;
  row.rotate = rotate;
  row.attention = attention;
  row.embed_rows = embed_rows;
}

}  // namespace espalier::model::cpu
