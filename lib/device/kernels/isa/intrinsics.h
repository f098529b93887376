// SPDX-License-Identifier: Apache-2.0
// The intrinsics that an ISA file may use. Tests compile the x86 files a second time with ESP_SIMDE
// defined. SIMDe then emulates what this machine's processor lacks, and the entry point gets
// another name.
#pragma once
#include <cstddef>
#include <cstdint>

#ifdef ESP_SIMDE
#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx2.h>
#include <simde/x86/avx512.h>
#include <simde/x86/f16c.h>
#include <simde/x86/fma.h>

#include "kernels/simde_gaps.h"  // a header of the tests
#define ESP_ISA_NAME(name) simde_##name
#else
#if defined(__aarch64__)
#include <arm_neon.h>
#else
#include <immintrin.h>
#endif
#define ESP_ISA_NAME(name) name
#endif

#include "format/blocks/blocks.h"
#include "kernels/kernel_table.h"
