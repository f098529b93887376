// SPDX-License-Identifier: Apache-2.0
// Row-interleaved weights. R rows (4, 8 or 16: the 32-bit lanes of a vector) form a group. Lane r
// of every vector belongs to row r. So a product accumulates R rows at once, and no sum runs across
// lanes.
//
// A "step" is 4 columns: one vector of R x 4 levels. Levels are the unsigned integers of the format
// (Q8_0: signed). The last group is filled up with rows of zeros.
//
//   levels of 32 columns  (byte 4r+c of a vector: row r; step s holds columns 4s..4s+3)
//     2 bits: 2 vectors, vector v bits 2(s%4)..2(s%4)+1 = step s, s/4 == v
//     3 bits: the same, then 1 vector whose bit s is bit 2 of step s
//     4 bits: 4 vectors, vector i = step i | step i+4 << 4
//     5 bits: the same, then 1 vector whose bit s is bit 4 of step s
//     6 bits: as 4 bits, then 2 vectors,
//             vector v bits 2(s%4)..2(s%4)+1 = bits 4-5 of step s, s/4 == v
//     8 bits: 8 vectors, vector s = step s
//
// For every block, a group has d of each row, m of each row, the scale words, and the levels of 32
// columns at a time. format::Parts holds these for one row, and the row of the format says how many
// there are. Scale words hold 4 bytes of Parts::scales each, with one exception.
//   Q2_0, for every 64 columns:             d f16[R], 2 x levels
//   Q4_0 Q5_0 Q8_0 IQ4_NL, 32 columns:      d f16[R], levels (IQ4_NL: the index into kCodebook4)
//   Q4_1 Q5_1, for every 32 columns:        d f16[R], m f16[R], levels
//   Q4_K Q5_K, for every 256 columns (paired scales, the exception):
//     d f16[R], dmin f16[R], u32 w0[R] w1[R] w2[R], 8 x levels
//     pair i = (scale 2i, scale 2i+1), pair 4+i = (min 2i, min 2i+1),
//     the first of a pair in the low 16 bits of a word, the second in the high 16 bits
//     within each half, bits 0-11:  w0 = pair 0 | pair 1 << 6, w1 = pair 2 | pair 3 << 6,
//                                   w2 = pair 4 | pair 5 << 6
//                       bits 12-15: w0 = pair 6 low 4 bits, w1 = pair 7 low 4 bits,
//                                   w2 = pair 6 >> 4 | (pair 7 >> 4) << 2
//   Q6_K, for every 256 columns:
//     d f16[R], u32 s0[R]..s3[R], 8 x levels
//     byte i of s_k = scale 4k+i (signed)
//   Q2_K, for every 256 columns:
//     d f16[R], dmin f16[R], u32 s0[R]..s3[R], 8 x levels
//     byte i of s_k = scale 4k+i | min 4k+i << 4
//   Q3_K, for every 256 columns:
//     d f16[R], u32 w0[R] w1[R] w2[R], 8 x levels
//     byte i of w0 = low 4 bits of scale i | low 4 bits of scale 8+i << 4
//     w1 the same for scales 4+i and 12+i
//     bits 2k..2k+1 of byte i of w2 = bits 4-5 of scale 4k+i
//   IQ4_XS, for every 256 columns:
//     d f16[R], h u16[R], u32 l[R], 8 x levels (indices)
//     bits 4g..4g+3 of l = low 4 bits of scale g, bits 2g..2g+1 of h = bits 4-5 of scale g
//
// The sizes equal those of GGUF. The bits do too, so packing loses nothing.
#pragma once
#include <cstdint>

#include "format/quant_format.h"

namespace espalier::kernels {

// n rows of `cols` values as they lie in a GGUF.
struct GgufRows {
  const unsigned char* first;
  std::int64_t row_bytes, n, cols;
};
// Packs rows into one group. n <= interleave; the other rows become zeros.
void pack_group(format::FormatId id, std::int64_t interleave, const GgufRows& rows,
                unsigned char* group);
// The GGUF bytes of one block-column (32, 64 or 256 columns, by format) of one row of a packed
// group.
void unpack_block(format::FormatId id, std::int64_t interleave, const unsigned char* group,
                  std::int64_t row, std::int64_t block_index, unsigned char* gguf_block);

}  // namespace espalier::kernels
