// SPDX-License-Identifier: Apache-2.0
// Which instruction sets this processor and operating system let us use. The enumerators are the
// names of compiler flags: on x86-64 without "-m" and with "_" for "-", so that one list in CMake
// gives both flags and run-time test (the compilers' own tests lack some of these names), on ARMv8
// as they follow "+" in -march.
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

// False for all on processors other than x86-64 and ARMv8 under Linux, and where the operating
// system does not save the registers.
bool cpu_has(CpuFeature feature);

}  // namespace espalier::kernels
