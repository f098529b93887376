// SPDX-License-Identifier: Apache-2.0
// NEON with dot products and the int8 matrix products of ARMv8.6: Cortex-A510, A710, X2 and later,
// Neoverse V1 and N2.
#include "kernels/isa/intrinsics.h"

namespace espalier::kernels::ESP_ISA_NAME(neon_i8mm) {
namespace {
#include "kernels/isa/vector_neon-inl.h"
#include "kernels/isa/tails-inl.h"
#include "kernels/isa/levels-inl.h"
#include "kernels/isa/dot_neon_dotprod-inl.h"
#include "kernels/isa/scales_word-inl.h"
#include "kernels/isa/blocks-inl.h"
#include "kernels/isa/matvec-inl.h"
#include "kernels/isa/tile_i8mm-inl.h"
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

}  // namespace espalier::kernels::ESP_ISA_NAME(neon_i8mm)
