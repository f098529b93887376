// SPDX-License-Identifier: Apache-2.0
// The element formats of tensors. For each format: values and bytes per block, the reference codec,
// the GGUF number and the name. A format is one file in blocks/ and one line in formats.inc.
// Layouts are those of GGUF (little-endian).
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

struct QuantFormat {
  FormatId id;
  std::string_view name;    // lower case: "q4_k"
  std::uint32_t gguf_type;  // ggml type number in GGUF files
  std::int64_t block;       // values per block
  std::int64_t block_bytes;
  // n is a multiple of `block`. decode is exact. encode is the reference rounding: to nearest when
  // importance is null. Otherwise it minimises sum importance[i] * (x[i] - q[i])^2 within a block,
  // where the format leaves a choice. importance has n values >= 0.
  void (*decode)(const std::byte* source, float* out, std::int64_t n);
  void (*encode)(const float* source, const float* importance, std::byte* out, std::int64_t n);

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
