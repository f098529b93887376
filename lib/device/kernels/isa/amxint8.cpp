// SPDX-License-Identifier: Apache-2.0
// AMX-INT8: Intel from Sapphire Rapids (2023). The product of many tokens with quantized weights is
// its own. Everything else is that of avx512bf16.cpp.
#include "kernels/isa/intrinsics.h"

namespace espalier::kernels::ESP_ISA_NAME(avx512bf16) {
void fill(KernelTable& table);
}

namespace espalier::kernels::ESP_ISA_NAME(amxint8) {
namespace {
#include "kernels/isa/vector_avx512-inl.h"
#include "kernels/isa/tails-inl.h"
#include "kernels/isa/levels-inl.h"
#include "kernels/isa/scales_word-inl.h"
#include "kernels/isa/amx-inl.h"
template <int kBits>
struct Dot {
  static constexpr bool kOffset128 = false;  // levels stay signed
};
#include "kernels/isa/blocks-inl.h"
#include "kernels/isa/tile_amx-inl.h"
#include "kernels/isa/panel-inl.h"
#include "kernels/isa/matmul-inl.h"
#include "kernels/isa/peak_amx-inl.h"
}  // namespace

void fill(KernelTable& table) {
  ESP_ISA_NAME(avx512bf16)::fill(table);
  each_quantized(table,
                 []<typename Format>(LinearKernel& kernel) { kernel.matmul = matmul<Format>; });
  table.multiply_int8 = multiply_int8;
}

}  // namespace espalier::kernels::ESP_ISA_NAME(amxint8)
