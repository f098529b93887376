// Which instruction sets this processor and operating system let us use. The enumerators are the names of compiler flags without
// "-m", so that one list in CMake gives both flags and run-time test (the compilers' own tests lack some of these names).
#pragma once
#include <cstdint>

namespace espalier::kernels {

enum class CpuFeature : std::uint8_t { avx2, fma, f16c, avxvnni, avx512f, avx512bw, avx512vl, avx512dq, avx512vnni };

// False for all on processors other than x86-64, and where the operating system does not save the registers.
bool cpu_has(CpuFeature feature);

}  // namespace espalier::kernels
