// SPDX-License-Identifier: Apache-2.0
// AVX2, FMA and F16C: Intel from Haswell (2013), AMD from Zen (2017).
#include "kernels/isa/intrinsics.h"

namespace espalier::kernels::ESP_ISA_NAME(avx2) {
namespace {
#include "kernels/isa/vector_avx2-inl.h"
#include "kernels/isa/tails-inl.h"
#include "kernels/isa/levels-inl.h"
#include "kernels/isa/dot_maddubs-inl.h"
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

}  // namespace espalier::kernels::ESP_ISA_NAME(avx2)
