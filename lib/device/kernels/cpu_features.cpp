// SPDX-License-Identifier: Apache-2.0
// x86-64: reads CPUID leaves 1 and 7, and XGETBV for the register state that the operating system
// saves. ARMv8: reads the auxiliary vector of Linux.
#include "kernels/cpu_features.h"

#if defined(__x86_64__)
#include <cpuid.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif
#elif defined(__aarch64__) && defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

namespace espalier::kernels {

#if defined(__x86_64__)
namespace {

// Linux saves the tiles of a process that requested them, once for all its threads ("Using XSTATE
// features in user space applications", kernel documentation).
bool may_use_tiles() {
#if defined(__linux__)
  constexpr long kRequestPermission = 0x1023, kTileData = 18;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}

struct Leaves {
  std::uint32_t ecx1 = 0, ebx7 = 0, ecx7 = 0, edx7 = 0, eax7_1 = 0;
  bool saves_avx = false, saves_avx512 = false, saves_tiles = false;

  Leaves() {
    std::uint32_t a = 0, b = 0, c = 0, d = 0;
    if (__get_cpuid(1, &a, &b, &c, &d)) ecx1 = c;
    std::uint32_t last_subleaf = 0;
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d)) {
      last_subleaf = a;
      ebx7 = b;
      ecx7 = c;
      edx7 = d;
    }
    if (last_subleaf >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d)) eax7_1 = a;
    constexpr std::uint32_t kOsxsave = 1u << 27;
    if (ecx1 & kOsxsave) {
      std::uint32_t low = 0, high = 0;
      __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
      saves_avx = (low & 0x06u) == 0x06u;     // XMM and YMM
      saves_avx512 = (low & 0xE6u) == 0xE6u;  // and mask registers, and both halves of ZMM
      constexpr std::uint32_t kHasTiles = 1u << 24, kTileState = 0x60000u;
      saves_tiles = (edx7 & kHasTiles) != 0 && (low & kTileState) == kTileState && may_use_tiles();
    }
  }
};

}  // namespace

bool cpu_has(CpuFeature feature) {
  static const Leaves cpu;
  const auto bit = [](std::uint32_t word, int i) { return ((word >> i) & 1u) != 0; };
  switch (feature) {
    case CpuFeature::fma:
      return cpu.saves_avx && bit(cpu.ecx1, 12);
    case CpuFeature::f16c:
      return cpu.saves_avx && bit(cpu.ecx1, 29);
    case CpuFeature::avx2:
      return cpu.saves_avx && bit(cpu.ebx7, 5);
    case CpuFeature::avxvnni:
      return cpu.saves_avx && bit(cpu.eax7_1, 4);
    case CpuFeature::avx512f:
      return cpu.saves_avx512 && bit(cpu.ebx7, 16);
    case CpuFeature::avx512dq:
      return cpu.saves_avx512 && bit(cpu.ebx7, 17);
    case CpuFeature::avx512bw:
      return cpu.saves_avx512 && bit(cpu.ebx7, 30);
    case CpuFeature::avx512vl:
      return cpu.saves_avx512 && bit(cpu.ebx7, 31);
    case CpuFeature::avx512vnni:
      return cpu.saves_avx512 && bit(cpu.ecx7, 11);
    case CpuFeature::avx512bf16:
      return cpu.saves_avx512 && bit(cpu.eax7_1, 5);
    case CpuFeature::amx_tile:
      return cpu.saves_tiles;
    case CpuFeature::amx_int8:
      return cpu.saves_tiles && bit(cpu.edx7, 25);
  }
  return false;
}
#elif defined(__aarch64__) && defined(__linux__)
bool cpu_has(CpuFeature feature) {
  switch (feature) {
    case CpuFeature::neon:
      return (getauxval(AT_HWCAP) & HWCAP_ASIMD) != 0;
    case CpuFeature::dotprod:
      return (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0;
    case CpuFeature::i8mm:
      return (getauxval(AT_HWCAP2) & HWCAP2_I8MM) != 0;
  }
  return false;
}
#else
bool cpu_has(CpuFeature) { return false; }
#endif

}  // namespace espalier::kernels
