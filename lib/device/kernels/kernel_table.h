// SPDX-License-Identifier: Apache-2.0
// The kernels of one ISA. For each weight format: the layout of weights and activations, and the
// two multiplications. Also the steps. Plain data only, because objects compiled for an ISA include
// this file. A table starts as a copy of the reference.
#pragma once
#include <cstddef>
#include <cstdint>

#include "kernels/step_kernels.h"

namespace espalier::kernels {

// The names and order of format::FormatId (checked in select_isa.cpp).
enum WeightFormat : std::uint8_t {
#define ESP_FORMAT(name, gguf_type) k_##name,
#include "format/formats.inc"
#undef ESP_FORMAT
  kWeightFormats
};

// The form in which activations reach a kernel. The quantized forms are cut into chunks of 256
// columns, stored [chunk][token], so that tokens of one blocked multiplication lie together. An
// incomplete last chunk is padded with zeros.
//
// bf16: rounded to bfloat16 for matmul alone (matvec takes f32). Each token is padded with zeros to
// a multiple of kBf16Step values.
enum class ActivationForm : std::uint8_t { f32, bf16, q8_per_32, q8_per_256 };
inline constexpr std::int64_t kBf16Step = 32;
inline constexpr std::int64_t kChunk = 256;
// A group of activations that are all smaller than this counts as zeros, because the inverse of its
// scale would exceed the range of float.
inline constexpr float kSmallestQuantized = 1e-30f;

// value = q * scale of its 32 columns. sum = sum of the 32 q, for formats with an offset or a
// minimum.
struct alignas(64) ChunkPer32 {
  float scale[8];
  std::int32_t sum[8];
  std::int8_t q[256];
};
// value = q * scale. Sums of q over 16 and over 32 columns (at most 32 * 127, so they fit).
struct alignas(64) ChunkPer256 {
  float scale;
  std::int16_t sum16[16];
  std::int16_t sum32[8];
  // Aligned so that no 16 or 32 columns straddle two cache lines.
  alignas(64) std::int8_t q[256];
};
static_assert(sizeof(ChunkPer32) == 320 && sizeof(ChunkPer256) == 320);

struct ActivationView {
  std::int64_t n;  // tokens
  std::int64_t cols;
  const float* f32;           // [n, cols]
  const std::uint16_t* bf16;  // [n, bf16_stride], when the kernel's form is bf16 and n > 1
  std::int64_t bf16_stride;   // cols rounded up to a multiple of kBf16Step
  // ChunkPer32 or ChunkPer256 [ceil(cols / 256)][n], as the kernel's form says.
  const void* chunks;
};

struct WeightView {
  const unsigned char* data;
  std::int64_t rows, cols;
  std::int64_t group_bytes;  // bytes of one row in place, or of `interleave` interleaved rows
};

struct LinearKernel {
  std::int64_t interleave;  // rows per group. 1: GGUF bytes in place; else packed as in layout.h
  ActivationForm form;
  // y[n, rows] (stride ldy) for rows [row_begin, row_end). row_begin is a multiple of `interleave`.
  // row_end is too, or it is the last row. matvec: view.n == 1 and y[rows]. matmul: any n.
  void (*matvec)(const WeightView&, const ActivationView&, std::int64_t row_begin,
                 std::int64_t row_end, float* y);
  void (*matmul)(const WeightView&, const ActivationView&, std::int64_t row_begin,
                 std::int64_t row_end, float* y, std::int64_t ldy);
};

// No member functions: inline functions would be weak symbols of the ISA objects.
struct KernelTable {
  const char* isa;
  LinearKernel linear[kWeightFormats];  // indexed by WeightFormat
  // Quantizes one chunk of n <= 256 values (a multiple of 32). The rest of the chunk is zeroed.
  void (*quantize_per_32)(const float* x, std::int64_t n, ChunkPer32* out);
  void (*quantize_per_256)(const float* x, std::int64_t n, ChunkPer256* out);
  // Rounds to nearest, ties to even. Denormals may become zero.
  void (*round_bf16)(const float* x, std::int64_t n, std::uint16_t* out);
  StepKernels steps;
  // The best speed of the ISA (peaks.h). multiply_int8 does int8 multiply-adds out of the
  // first-level cache and returns their number. read_bytes loads all of p[0, bytes), with `bytes` a
  // multiple of 512.
  std::int64_t (*multiply_int8)(std::int64_t rounds);
  void (*read_bytes)(const unsigned char* p, std::int64_t bytes);
};

void fill_reference(KernelTable& table);

}  // namespace espalier::kernels
