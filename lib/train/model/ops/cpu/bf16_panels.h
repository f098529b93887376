// SPDX-License-Identifier: Apache-2.0
// Products of matrices that are rounded to bfloat16, with sums and results in float32. LibTorch's
// own products round their results too, which sums over tokens cannot bear, and need a pass over
// memory for each conversion.
//
// A Panels holds vectors in tiles of 16 vectors by 16 pairs of values, as TDPBF16PS (AMX) and
// VDPBF16PS (AVX512_BF16) read them. Every result adds up its pairs in the order of the values, so
// it does not depend on the number of threads. Denormal values count as zeros.
#pragma once
#include <torch/types.h>

#include <cstdint>

namespace espalier::model::cpu {

// Whether this processor has the instructions. Nothing below may be called where it does not.
bool has_bf16_products();
// Whether it has those of AMX, with which a product here is faster than LibTorch's and its casts.
bool has_amx_products();

class Panels {
 public:
  enum class Side : std::uint8_t { left, right };
  // Of the rows of a float32 matrix [n, k], whose rows or columns are contiguous. So the transposed
  // view of [k, n] needs no copy.
  Panels(const torch::Tensor& vectors, Side side);

  std::int64_t vectors() const { return n_; }
  std::int64_t values() const { return k_; }
  Side side() const { return side_; }
  // The vectors 16 b .. 16 b + 15: a tile of kTile words for every 32 values. There is an even
  // number of such blocks. What is beyond the vectors and values is zero.
  const std::uint32_t* block(std::int64_t b) const;
  std::int64_t blocks() const;
  std::int64_t tiles() const { return (k_ + 31) / 32; }  // of a block

  static constexpr std::int64_t kTile = 256;

 private:
  std::int64_t n_, k_;
  Side side_;
  torch::Tensor words_;
};

// The fastest that the processor has, or the slower ones, for tests.
enum class Bf16Instructions : std::uint8_t { fastest, avx512_bf16 };
// [left.vectors(), right.vectors()]
torch::Tensor product(const Panels& left, const Panels& right,
                      Bf16Instructions instructions = Bf16Instructions::fastest);
// The same for two sides of one matrix: half of the products, and a symmetric result.
torch::Tensor symmetric_product(const Panels& left, const Panels& right);

}  // namespace espalier::model::cpu
