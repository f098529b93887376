// SPDX-License-Identifier: Apache-2.0
// Lookups over formats.inc, and the sizes of matrices.
#include "format/quant_format.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <limits>

#include "core/error.h"
#include "format/blocks/codec.h"

namespace espalier::format {
namespace {

constexpr std::size_t kFormats = 0
#define ESP_FORMAT(name, gguf_type) +1
#include "format/formats.inc"
#undef ESP_FORMAT
    ;

// The copies are made on first use. Statics of other files may not be initialised before those of
// this file.
const std::array<QuantFormat, kFormats>& table() {
  static const std::array<QuantFormat, kFormats> formats = {
#define ESP_FORMAT(name, gguf_type) k_##name,
#include "format/formats.inc"
#undef ESP_FORMAT
  };
  return formats;
}

}  // namespace

const QuantFormat& info(FormatId id) { return table()[static_cast<std::size_t>(id)]; }

std::span<const QuantFormat> all_formats() { return table(); }

std::optional<FormatId> format_by_name(std::string_view name) {
  const auto same = [](char a, char b) {
    return std::tolower(static_cast<unsigned char>(a)) ==
           std::tolower(static_cast<unsigned char>(b));
  };
  for (const QuantFormat& format : table())
    if (std::equal(name.begin(), name.end(), format.name.begin(), format.name.end(), same))
      return format.id;
  return std::nullopt;
}

std::optional<FormatId> format_by_gguf_type(std::uint32_t type) {
  for (const QuantFormat& format : table())
    if (format.gguf_type == type) return format.id;
  return std::nullopt;
}

std::int64_t matrix_bytes(FormatId id, std::int64_t rows, std::int64_t cols) {
  const QuantFormat& format = info(id);
  constexpr std::int64_t kLimit = std::numeric_limits<std::int64_t>::max();
  ESP_CHECK(rows >= 0 && cols >= 0 && cols <= kLimit / 8, unsupported, "a matrix cannot have ",
            rows, " x ", cols, " values");
  if (cols % format.block != 0) {
    const std::int64_t below = cols / format.block * format.block, above = below + format.block;
    const std::int64_t nearest = below > 0 && cols - below <= above - cols ? below : above;
    core::fail(core::ErrorKind::unsupported, "rows of ", cols, " values cannot be stored as ",
               format.name, ", which has blocks of ", format.block,
               "; the nearest legal row length is ", nearest);
  }
  const std::int64_t row_bytes =
      cols / format.block * format.block_bytes;  // at most 4 * cols, so it does not overflow
  ESP_CHECK(row_bytes == 0 || rows <= kLimit / row_bytes, unsupported, "a matrix of ", rows, " x ",
            cols, " values is too large");
  return rows * row_bytes;
}

}  // namespace espalier::format
