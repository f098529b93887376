// SPDX-License-Identifier: Apache-2.0
// Sizes of blocks, and a table that kernels read too. Plain data only, so that ISA objects may
// include this file. The packed blocks themselves are drawn and declared in blocks/<format>.cpp.
#pragma once
#include <cstddef>
#include <cstdint>

namespace espalier::format {

constexpr int kBlock32 = 32;
constexpr int kBlock64 = 64;
constexpr int kSuperBlock = 256;

// The levels of IQ4_NL and IQ4_XS, ascending.
constexpr std::int8_t kCodebook4[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                        1,    13,   25,  38,  53,  69,  89,  113};

}  // namespace espalier::format
