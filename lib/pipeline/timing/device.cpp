// SPDX-License-Identifier: Apache-2.0
// Matrices of zeros: the kernels take as long for them as for others.
#include "timing/device.h"

#include <algorithm>
#include <deque>
#include <vector>

#include "kernels/linear.h"
#include "timing/layers.h"
#include "timing/sample.h"

namespace espalier::timing {
namespace {

constexpr std::int64_t kAtOnce = 256;  // tokens of a piece
constexpr double kAttention = 4;       // times as slow as an operation of a matrix
constexpr std::int64_t kDeviceSample = 16384;
constexpr std::int64_t kCaches = std::int64_t{64} << 20;  // bytes, more than they hold

class Matrices {
 public:
  Matrices(const std::string& isa, int threads)
      : table_(kernels::select_isa(isa)), pool_(threads) {}
  void add(std::int64_t rows, std::int64_t cols, format::FormatId format) {
    bytes_.emplace_back(static_cast<std::size_t>(format::matrix_bytes(format, rows, cols)));
    all_.emplace_back(table_, format, bytes_.back(), rows, cols, pool_);
    most_rows_ = std::max(most_rows_, rows);
    most_cols_ = std::max(most_cols_, cols);
  }
  // All of them times n vectors.
  void multiply(std::int64_t n) {
    if (n > n_) {
      n_ = n;
      x_.assign(static_cast<std::size_t>(n * most_cols_), 1.0f);
      y_.assign(static_cast<std::size_t>(n * most_rows_), 0.0f);
      activations_.clear();
      activations_.emplace_back(n, most_cols_);
    }
    for (const kernels::Matrix& m : all_) {
      activations_[0].set(x_.data(), n, m.cols());
      kernels::linear(table_, m, activations_[0], y_.data(), m.rows(), pool_);
    }
  }
  double products() const {
    double out = 0;
    for (const kernels::Matrix& m : all_) out += 2 * real(m.rows()) * real(m.cols());
    return out;
  }
  std::int64_t bytes() const {
    std::int64_t out = 0;
    for (const kernels::Matrix& m : all_) out += m.gguf_bytes();
    return out;
  }

 private:
  const kernels::KernelTable& table_;
  core::ThreadPool pool_;
  std::deque<std::vector<std::byte>> bytes_;
  std::deque<kernels::Matrix> all_;
  std::deque<kernels::Activations> activations_;  // at most one
  std::vector<float> x_, y_;
  std::int64_t n_ = 0, most_rows_ = 0, most_cols_ = 0;
};

std::string form(format::FormatId format, const std::string& isa) {
  return std::string(format::info(format).name) + (isa.empty() ? "" : " by " + isa);
}

struct Shape {
  std::int64_t rows, cols;
};

double usual(const std::string& isa) { return isa.empty() ? 150e9 : 2e9; }

}  // namespace

Item prefill(const Model& model, format::FormatId format, const Text& text, const std::string& isa,
             const Place& place) {
  // The matrices of the first layer, which stand for those of all.
  std::vector<Shape> shapes;
  std::string key = "prefill " + form(format, isa);
  double matrices = 0;
  for (const arch::TensorRef& t : arch::tensors(*model.arch, model.dims)) {
    if (t.layer < 0 || t.is_vector) continue;
    matrices += 2 * real(t.elements()) * real(t.used) / real(t.stack);
    if (t.layer > 0 || t.stack > 1) continue;
    shapes.push_back({t.rows, t.cols});
    key += " " + std::to_string(t.rows) + "x" + std::to_string(t.cols);
  }
  // A position sees half of the window on average.
  const double attention =
      (operations_per_token(model, text.sequence) - matrices) / 2 * (isa.empty() ? kAttention : 1);
  Item out{"prefill", key, real(text.tokens) * (matrices + attention), usual(isa), {}};
  if (shapes.empty()) return out;
  out.measure = [=](double seconds) {
    Matrices all(isa, place.threads);
    for (const Shape& s : shapes) all.add(s.rows, s.cols, format);
    return all.products() * speed(seconds, 2, std::min(kAtOnce, text.sequence),
                                  [&](std::int64_t n) { return [&all, n] { all.multiply(n); }; });
  };
  return out;
}

Item device_output(const arch::ModelDims& dims, format::FormatId format, std::int64_t tokens,
                   const std::string& isa, const Place& place) {
  const std::int64_t rows = std::min(dims.vocab, kDeviceSample), cols = dims.hidden;
  return {"device output",
          "device output " + form(format, isa) + " " + std::to_string(rows) + "x" +
              std::to_string(cols),
          2 * real(dims.vocab) * real(dims.hidden) * real(tokens), usual(isa), [=](double seconds) {
            Matrices all(isa, place.threads);
            all.add(rows, cols, format);
            return all.products() * speed(seconds, 2, 64, [&](std::int64_t n) {
                     return [&all, n] { all.multiply(n); };
                   });
          }};
}

Item write_tokens(std::int64_t tokens, std::int64_t bytes, format::FormatId format,
                  const Place& place) {
  return {"writing tokens", "writing tokens " + form(format, ""), real(tokens) * real(bytes), 8e9,
          [=](double seconds) {
            constexpr std::int64_t kRows = 4096, kCols = 1024;
            Matrices all("", place.threads);
            do {
              all.add(kRows, kCols, format);
            } while (all.bytes() < std::min(bytes, kCaches));
            return real(all.bytes()) *
                   speed(seconds, 1, 1, [&](std::int64_t) { return [&all] { all.multiply(1); }; });
          }};
}

}  // namespace espalier::timing
