// SPDX-License-Identifier: Apache-2.0
// AVX2 with the 256-bit VNNI instructions: Intel client processors from Alder Lake (2021).
#include "kernels/isa/intrinsics.h"

namespace espalier::kernels::ESP_ISA_NAME(avx_vnni) {
namespace {
#include "kernels/isa/vector_avx2-inl.h"
#include "kernels/isa/tails-inl.h"
#include "kernels/isa/levels-inl.h"
inline V::I dpbusd(V::I sum, V::I u, V::I s) { return _mm256_dpbusd_avx_epi32(sum, u, s); }
#include "kernels/isa/dot_vnni-inl.h"
#include "kernels/isa/scales_word-inl.h"
#include "kernels/isa/blocks-inl.h"
#include "kernels/isa/matvec-inl.h"
#include "kernels/isa/tile-inl.h"
#include "kernels/isa/panel-inl.h"
#include "kernels/isa/tile_registers-inl.h"
#include "kernels/isa/matmul-inl.h"
#include "kernels/isa/quantize-inl.h"
#include "kernels/isa/float-inl.h"
#include "kernels/isa/steps-inl.h"
#include "kernels/isa/kv_q4-inl.h"
#include "kernels/isa/kv-inl.h"
#include "kernels/isa/attention-inl.h"
#include "kernels/isa/peak-inl.h"
#include "kernels/isa/fill-inl.h"
}  // namespace

void fill(KernelTable& table) { fill_table(table); }

}  // namespace espalier::kernels::ESP_ISA_NAME(avx_vnni)
