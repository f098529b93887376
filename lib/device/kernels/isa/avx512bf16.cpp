// SPDX-License-Identifier: Apache-2.0
// AVX-512 with VNNI and BF16: Intel from Sapphire Rapids (2023), AMD from Zen 4 (2022). The product
// of many tokens with BF16 weights is its own. Everything else is that of avx512vnni.cpp.
#include "kernels/isa/intrinsics.h"

namespace espalier::kernels::ESP_ISA_NAME(avx512vnni) {
void fill(KernelTable& table);
}

namespace espalier::kernels::ESP_ISA_NAME(avx512bf16) {
namespace {
#include "kernels/isa/vector_avx512-inl.h"
#include "kernels/isa/tails-inl.h"
#include "kernels/isa/bf16-inl.h"
}  // namespace

void fill(KernelTable& table) {
  ESP_ISA_NAME(avx512vnni)::fill(table);
  table.linear[k_bf16].form = ActivationForm::bf16;
  table.linear[k_bf16].matmul = matmul_bf16;
  table.round_bf16 = round_bf16;
}

}  // namespace espalier::kernels::ESP_ISA_NAME(avx512bf16)
