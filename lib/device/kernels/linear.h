// SPDX-License-Identifier: Apache-2.0
// y = W x for weight matrices in any GGUF format, the main work of a decoder. Weights are packed
// once for the ISA in use (row-interleaved where that pays). Activations are quantized once per
// step and shared by all matrices that read them (q, k, v; gate, up).
//
// Threads split rows. One thread computes each output value in a fixed order, so results do not
// depend on the number of threads.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "core/thread_pool.h"
#include "format/quant_format.h"
#include "kernels/step_kernels.h"

namespace espalier::kernels {

struct KernelTable;  // kernel_table.h: function pointers of one ISA

// "": $ESPALIER_ISA, else the best that this CPU runs. Error(usage) for an unknown name.
// Error(unsupported) when the CPU cannot run it.
const KernelTable& select_isa(std::string_view name = "");
std::string isa_name(const KernelTable& table);
// All compiled ISAs: the reference first, then in order of preference.
std::span<const std::string_view> isa_names();
bool isa_runnable(std::string_view name);

// A weight matrix [rows, cols]. It refers to bytes that must outlive it (of a GGUF, or packed
// before), or owns a packed copy.
class Matrix {
 public:
  Matrix();
  ~Matrix();
  Matrix(Matrix&&) noexcept;
  Matrix& operator=(Matrix&&) noexcept;
  Matrix(const KernelTable& table, format::FormatId format, std::span<const std::byte> gguf_bytes,
         std::int64_t rows, std::int64_t cols, core::ThreadPool& pool);
  // A matrix of bytes that packed() gave for the same format and shape, under a table with the same
  // group_rows().
  static Matrix of_packed(const KernelTable& table, format::FormatId format,
                          std::span<const std::byte> packed_bytes, std::int64_t rows,
                          std::int64_t cols);
  // The number of rows that a table's kernels interleave for a format. 1: they read GGUF directly.
  static std::int64_t group_rows(const KernelTable& table, format::FormatId format);
  std::int64_t rows() const;
  std::int64_t cols() const;
  format::FormatId format() const;
  // The index of the first value that is not finite, as packing found it
  // (format::first_not_finite). -1 when all are finite, or when nothing was packed.
  std::int64_t not_finite() const;
  std::int64_t gguf_bytes() const;  // size in the file
  // Whole groups, the last one filled up with rows of zeros. Empty where GGUF is read directly.
  std::span<const std::byte> packed() const;
  void decode_row(std::int64_t row, float* out) const;  // exact values, for token embeddings

  struct State;
  const State& state() const { return *state_; }

 private:
  std::unique_ptr<State> state_;
};

// Activations of up to max_tokens tokens, quantized for the kernels of each weight format.
// Allocates only in the constructor.
class Activations {
 public:
  Activations(std::int64_t max_tokens, std::int64_t max_cols);
  ~Activations();
  Activations(Activations&&) noexcept;
  Activations& operator=(Activations&&) noexcept;
  // Sets the values x[n, cols] (row-major, contiguous). They must stay valid during
  // multiplications. linear() makes quantized forms on demand.
  void set(const float* x, std::int64_t n, std::int64_t cols) noexcept;
  std::int64_t bytes() const;  // of all forms together

  struct State;
  State& state() { return *state_; }

 private:
  std::unique_ptr<State> state_;
};

// y[n, rows] (row stride ldy >= rows) = x[n, cols] W^T, for matrices that read the same
// activations. Does not allocate. n = 1 uses the matvec kernels, larger n the blocked kernels.
struct Product {
  const Matrix* w;
  float* y;
  std::int64_t ldy;
};
void linear(const KernelTable& table, std::span<const Product> products, Activations& x,
            core::ThreadPool& pool) noexcept;
inline void linear(const KernelTable& table, const Matrix& w, Activations& x, float* y,
                   std::int64_t ldy, core::ThreadPool& pool) noexcept {
  const Product one{&w, y, ldy};
  linear(table, {&one, 1}, x, pool);
}

const StepKernels& steps(const KernelTable& table);

}  // namespace espalier::kernels
