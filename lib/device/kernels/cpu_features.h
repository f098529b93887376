// SPDX-License-Identifier: Apache-2.0
// The instruction sets that this processor and operating system allow. The enumerators are names of
// compiler flags, so that one list in CMake gives both the flags and the run-time test. (The
// compilers' own tests lack some of these names.) On x86-64 they are written without "-m" and with
// "_" for "-". On ARMv8 they are the names that follow "+" in -march.
#pragma once
#include <cstdint>

namespace espalier::kernels {

#if defined(__aarch64__)
enum class CpuFeature : std::uint8_t { neon, dotprod, i8mm };
#else
enum class CpuFeature : std::uint8_t {
  avx2,
  fma,
  f16c,
  avxvnni,
  avx512f,
  avx512bw,
  avx512vl,
  avx512dq,
  avx512vnni,
  avx512bf16,
  amx_tile,
  amx_int8
};
#endif

// False for every feature on processors other than x86-64 and ARMv8 under Linux, and where the
// operating system does not save the registers.
bool cpu_has(CpuFeature feature);

}  // namespace espalier::kernels
