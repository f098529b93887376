// SPDX-License-Identifier: Apache-2.0
// A matrix prepared for one ISA: a view of the GGUF bytes, or a packed copy of them.
#include "kernels/matrix.h"

#include <algorithm>
#include <atomic>
#include <limits>
#include <utility>

#include "core/error.h"
#include "format/finite.h"
#include "kernels/layout.h"

namespace espalier::kernels {
namespace {

// Loads bytes into the cache in ascending order, in which memory is read fastest. Packing itself
// walks across rows.
void read_forwards(const unsigned char* p, std::int64_t bytes) {
  for (std::int64_t i = 0; i < bytes; i += 64)
    static_cast<void>(*static_cast<const volatile unsigned char*>(p + i));
}

std::unique_ptr<Matrix::State> described(const KernelTable& table, format::FormatId format,
                                         std::int64_t rows, std::int64_t cols) {
  ESP_CHECK(rows >= 0 && cols > 0, input, "matrix of ", rows, " x ", cols, " values");
  auto s = std::make_unique<Matrix::State>();
  s->table = &table;
  s->format = format;
  s->kernel = table.linear[static_cast<std::size_t>(format)];
  s->gguf_bytes = format::matrix_bytes(format, rows, cols);
  s->view = {.data = nullptr,
             .rows = rows,
             .cols = cols,
             .group_bytes = rows > 0 ? s->gguf_bytes / rows * s->kernel.interleave : 0};
  return s;
}

void check_size(const Matrix::State& s, std::size_t bytes, std::int64_t expected) {
  ESP_CHECK(static_cast<std::int64_t>(bytes) == expected, input, "matrix of ", s.view.rows, " x ",
            s.view.cols, " ", format::info(s.format).name, " values: expected ", expected,
            " bytes, got ", bytes);
}

std::int64_t groups_of(const Matrix::State& s) {
  return (s.view.rows + s.kernel.interleave - 1) / s.kernel.interleave;
}

}  // namespace

Matrix::Matrix() : state_(std::make_unique<State>()) {}
Matrix::~Matrix() = default;
Matrix::Matrix(Matrix&&) noexcept = default;
Matrix& Matrix::operator=(Matrix&&) noexcept = default;

Matrix::Matrix(const KernelTable& table, format::FormatId format,
               std::span<const std::byte> gguf_bytes, std::int64_t rows, std::int64_t cols,
               core::ThreadPool& pool)
    : state_(described(table, format, rows, cols)) {
  State& s = *state_;
  check_size(s, gguf_bytes.size(), s.gguf_bytes);
  const auto* source = reinterpret_cast<const unsigned char*>(gguf_bytes.data());
  s.view.data = source;
  const std::int64_t interleave = s.kernel.interleave;
  if (interleave == 1 || rows == 0) return;

  const std::int64_t groups = groups_of(s), row_bytes = s.view.group_bytes / interleave;
  s.packed = PackedMemory(groups * s.view.group_bytes);
  s.view.data = s.packed.data();
  std::atomic<std::int64_t> first_bad{std::numeric_limits<std::int64_t>::max()};
  pool.split(groups, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t g = begin; g < end; ++g) {
      const std::int64_t first = g * interleave, n = std::min(interleave, rows - first);
      read_forwards(source + first * row_bytes, n * row_bytes);
      const std::int64_t bad = format::first_not_finite(
          format, gguf_bytes.subspan(static_cast<std::size_t>(first * row_bytes),
                                     static_cast<std::size_t>(n * row_bytes)));
      for (std::int64_t seen = first_bad; bad >= 0 && first * cols + bad < seen;)
        if (first_bad.compare_exchange_weak(seen, first * cols + bad)) break;
      pack_group(
          format, interleave,
          {.first = source + first * row_bytes, .row_bytes = row_bytes, .n = n, .cols = cols},
          s.packed.data() + g * s.view.group_bytes);
    }
  });
  if (first_bad != std::numeric_limits<std::int64_t>::max()) s.not_finite = first_bad;
}

Matrix Matrix::of_packed(const KernelTable& table, format::FormatId format,
                         std::span<const std::byte> packed_bytes, std::int64_t rows,
                         std::int64_t cols) {
  Matrix out;
  out.state_ = described(table, format, rows, cols);
  State& s = *out.state_;
  ESP_CHECK(s.kernel.interleave > 1, internal, format::info(format).name, " is not packed for ",
            table.isa);
  check_size(s, packed_bytes.size(), groups_of(s) * s.view.group_bytes);
  s.view.data = reinterpret_cast<const unsigned char*>(packed_bytes.data());
  return out;
}

std::int64_t Matrix::group_rows(const KernelTable& table, format::FormatId format) {
  return table.linear[static_cast<std::size_t>(format)].interleave;
}

std::int64_t Matrix::rows() const { return state_->view.rows; }
std::int64_t Matrix::cols() const { return state_->view.cols; }
format::FormatId Matrix::format() const { return state_->format; }
std::int64_t Matrix::not_finite() const { return state_->not_finite; }
std::int64_t Matrix::gguf_bytes() const { return state_->gguf_bytes; }
std::span<const std::byte> Matrix::packed() const {
  const State& s = *state_;
  if (s.kernel.interleave <= 1) return {};
  return {reinterpret_cast<const std::byte*>(s.view.data),
          static_cast<std::size_t>(groups_of(s) * s.view.group_bytes)};
}

void Matrix::decode_row(std::int64_t row, float* out) const {
  const State& s = *state_;
  ESP_ASSERT(row >= 0 && row < s.view.rows);
  const format::QuantFormat& f = format::info(s.format);
  if (s.kernel.interleave == 1) {
    f.decode(reinterpret_cast<const std::byte*>(s.view.data + row * s.view.group_bytes), out,
             s.view.cols);
    return;
  }
  const std::int64_t interleave = s.kernel.interleave;
  const unsigned char* group = s.view.data + row / interleave * s.view.group_bytes;
  unsigned char block[256];
  ESP_ASSERT(f.block_bytes <= static_cast<std::int64_t>(sizeof block));
  for (std::int64_t b = 0; b < s.view.cols / f.block; ++b) {
    unpack_block(s.format, interleave, group, row % interleave, b, block);
    f.decode(reinterpret_cast<const std::byte*>(block), out + b * f.block, f.block);
  }
}

}  // namespace espalier::kernels
