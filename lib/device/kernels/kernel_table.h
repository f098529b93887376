// SPDX-License-Identifier: Apache-2.0
// What an ISA provides: for each weight format how it wants weights and activations laid out and
// the two multiplications, plus the steps. Plain data and nothing else, because objects compiled
// for an ISA include it. A table starts as a copy of the reference.
#pragma once
#include <cstddef>
#include <cstdint>

#include "kernels/step_kernels.h"

namespace espalier::kernels {

// Same names and order as format::FormatId (checked in select_isa.cpp).
enum WeightFormat : std::uint8_t {
#define ESP_FORMAT(name, gguf_type) k_##name,
#include "format/formats.inc"
#undef ESP_FORMAT
  kWeightFormats
};

// How activations reach a kernel. The quantized forms are cut into chunks of 256 columns, stored
// [chunk][token], so that the tokens a blocked multiplication needs together lie together. A last
// chunk that is not full is padded with zeros. bf16: rounded to bfloat16 for matmul alone (matvec
// takes f32), each token padded with zeros to a multiple of kBf16Step values.
enum class ActivationForm : std::uint8_t { f32, bf16, q8_per_32, q8_per_256 };
inline constexpr std::int64_t kBf16Step = 32;
inline constexpr std::int64_t kChunk = 256;
// A group of activations that are all smaller than this counts as zeros (its scale's inverse would
// leave the range of float).
inline constexpr float kSmallestQuantized = 1e-30f;

// value = q * scale of its 32 columns; sum = sum of the 32 q, for formats with an offset or a
// minimum.
struct alignas(64) ChunkPer32 {
  float scale[8];
  std::int32_t sum[8];
  std::int8_t q[256];
};
// value = q * scale; sums of q over 16 and over 32 columns (at most 32 * 127, so they fit).
struct alignas(64) ChunkPer256 {
  float scale;
  std::int16_t sum16[16];
  std::int16_t sum32[8];
  alignas(64) std::int8_t q[256];  // no 16 or 32 columns lie in two cache lines
};
static_assert(sizeof(ChunkPer32) == 320 && sizeof(ChunkPer256) == 320);

struct ActivationView {
  std::int64_t n;  // tokens
  std::int64_t cols;
  const float* f32;           // [n, cols]
  const std::uint16_t* bf16;  // [n, bf16_stride], when the kernel's form says so and n > 1
  std::int64_t bf16_stride;   // cols up to a multiple of kBf16Step
  const void* chunks;  // ChunkPer32 or ChunkPer256 [ceil(cols / 256)][n], as the kernel's form says
};

struct WeightView {
  const unsigned char* data;
  std::int64_t rows, cols;
  std::int64_t group_bytes;  // bytes of one row in place, or of `interleave` interleaved rows
};

struct LinearKernel {
  std::int64_t interleave;  // rows per group: 1 = GGUF bytes in place, else packed by layout.h
  ActivationForm form;
  // y[n, rows] (stride ldy) for rows [row_begin, row_end); row_begin is a multiple of `interleave`,
  // row_end too or the last row. matvec: view.n == 1 and y[rows]; matmul: any n.
  void (*matvec)(const WeightView&, const ActivationView&, std::int64_t row_begin,
                 std::int64_t row_end, float* y);
  void (*matmul)(const WeightView&, const ActivationView&, std::int64_t row_begin,
                 std::int64_t row_end, float* y, std::int64_t ldy);
};

// No member functions: inline ones would be weak symbols of the ISA objects.
struct KernelTable {
  const char* isa;
  LinearKernel linear[kWeightFormats];  // index: WeightFormat
  // One chunk of n <= 256 values (a multiple of 32); the rest of the chunk is zeroed.
  void (*quantize_per_32)(const float* x, std::int64_t n, ChunkPer32* out);
  void (*quantize_per_256)(const float* x, std::int64_t n, ChunkPer256* out);
  // To nearest, ties to even; denormals may become zero.
  void (*round_bf16)(const float* x, std::int64_t n, std::uint16_t* out);
  StepKernels steps;
  // What the ISA does at best (peaks.h): int8 multiply-adds out of the first-level cache, returning
  // their number; loading all of p[0, bytes), a multiple of 512.
  std::int64_t (*multiply_int8)(std::int64_t rounds);
  void (*read_bytes)(const unsigned char* p, std::int64_t bytes);
};

void fill_reference(KernelTable& table);

}  // namespace espalier::kernels
