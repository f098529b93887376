// SPDX-License-Identifier: Apache-2.0
// The element formats of tensors: one row each. A row holds all that differs between formats: the
// name, the numbers in GGUF, the codec, what a block is made of, and the grid of its values. Other
// code loops over rows.
//
// A format is one file in blocks/ and one line in formats.inc. Layouts are those of GGUF
// (little-endian).
#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace espalier::format {

enum class FormatId : std::uint8_t {
#define ESP_FORMAT(name, gguf_type) name,
#include "format/formats.inc"
#undef ESP_FORMAT
};

struct Grid;  // grid.h

// Binary16 holds magnitudes up to the first, and rounds those below the second with relative errors
// of an eighth or more, down to 0.
inline constexpr float kLargestHalf = 65504.0f, kLeastHalf = 0x1p-22f;

// A block taken apart. Only the fields of its format are written and used. Filling 256 levels for a
// block of 32 would cost more than the block.
struct Parts {
  // As stored: the scale, then a minimum or a second scale (IQ4_XS: upper bits of integer scales).
  std::uint16_t d = 0, m = 0;
  std::uint8_t scales[16] = {};  // K formats: the bytes of integer scales and mins, as stored
  std::uint8_t q[256];           // levels as stored: unsigned, or indices (Q8_0: signed bytes)
};

struct QuantFormat {
  FormatId id = {};
  std::string_view name = {};   // lower case: "q4_k"
  std::uint32_t gguf_type = 0;  // ggml type number in GGUF files
  std::uint32_t file_type = 0;  // general.file_type of files that are mostly of this format
  bool in_budget = true;        // block formats: a candidate of byte budgets that name none
  std::int64_t block = 1;       // values per block
  std::int64_t block_bytes = 0;
  // n is a multiple of `block`. decode is exact. encode is the reference rounding: to nearest when
  // importance is null. Otherwise it minimises sum importance[i] * (x[i] - q[i])^2 within a block,
  // where the format leaves a choice. importance has n values >= 0.
  void (*decode)(const std::byte* source, float* out, std::int64_t n) = nullptr;
  void (*encode)(const float* source, const float* importance, std::byte* out,
                 std::int64_t n) = nullptr;
  // format/finite.h, for whole blocks.
  std::int64_t (*first_not_finite)(std::span<const std::byte> bytes) = nullptr;
  // The largest magnitude of a scale (float formats: of a value). Below `least`, rounding loses an
  // eighth or more. 0: the exponent is that of float.
  float largest = kLargestHalf, least = kLeastHalf;

  // Block formats alone. A block is d, m, scales and levels in any order, and nothing else. So d
  // and m take what the others leave of its bytes: 1 or 2 for d, then 0 or 2 for m.
  int level_bits = 0;
  int scale_words = 0;         // bytes in Parts::scales, in words of 4
  bool paired_scales = false;  // these are 8 scales and 8 mins of 6 bits (q4_k.cpp)
  // n blocks that lie `stride` bytes apart, at multiples of their alignment.
  void (*take_apart)(const std::byte* blocks, std::int64_t stride, std::int64_t n,
                     Parts* out) = nullptr;
  void (*put_together)(const Parts& parts, std::byte* block) = nullptr;
  const Grid* grid = nullptr;

  constexpr bool is_float() const { return block == 1; }
  double bits_per_weight() const {
    return 8.0 * static_cast<double>(block_bytes) / static_cast<double>(block);
  }
};

const QuantFormat& info(FormatId id);
std::span<const QuantFormat> all_formats();
std::optional<FormatId> format_by_name(std::string_view name);  // case-insensitive
std::optional<FormatId> format_by_gguf_type(std::uint32_t type);

// Bytes of `rows` rows of `cols` values. Error(unsupported) naming the nearest legal row length
// when `cols` is not a multiple of the block.
std::int64_t matrix_bytes(FormatId id, std::int64_t rows, std::int64_t cols);

}  // namespace espalier::format
