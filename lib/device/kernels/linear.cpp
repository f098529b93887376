// SPDX-License-Identifier: Apache-2.0
// Multiplies several matrices with the same activations at once. The rows of all matrices form one
// sequence. Each thread gets a contiguous share, because memory is read fastest in ascending order.
// A thread that finishes its share takes pieces of the others.
//
// A row's value does not depend on the thread that computes it. So results do not depend on the
// number of threads or on timing.
#include "kernels/linear.h"

#include <algorithm>
#include <atomic>

#include "core/error.h"
#include "kernels/activations.h"
#include "kernels/matrix.h"

namespace espalier::kernels {
namespace {

// Rows of a granule: a multiple of every interleave, and of the pairs of groups that matmul works
// on.
constexpr std::int64_t kGranule = 32;
// The weights of a piece stay in the second-level cache while all tokens pass.
constexpr std::int64_t kMatmulRows = 64;
constexpr std::int64_t kPiecesPerThread = 8;
constexpr int kShares = 64;  // with more threads, several threads work on one share

struct alignas(64) Share {
  std::atomic<std::int64_t> next{0};  // index of the next granule
  std::int64_t end = 0;
};

std::int64_t granules(const Matrix& w) { return (w.rows() + kGranule - 1) / kGranule; }

}  // namespace

void linear(const KernelTable& table, std::span<const Product> products, Activations& x,
            core::ThreadPool& pool) noexcept {
  std::int64_t total = 0;
  for (const Product& p : products) {
    ESP_ASSERT(p.w->rows() == 0 || (p.w->state().table == &table && x.state().cols == p.w->cols() &&
                                    p.ldy >= p.w->rows()));
    // Quantized before the threads begin.
    if (p.w->rows() > 0) x.state().view(p.w->state().kernel.form, table, pool);
    total += granules(*p.w);
  }
  const std::int64_t n = x.state().n;
  if (n == 0 || total == 0) return;

  // Rows [begin, end) in granules. They may cover several matrices.
  const auto multiply = [&](std::int64_t begin, std::int64_t end) {
    std::int64_t first = 0;
    for (const Product& p : products) {
      const std::int64_t last = first + granules(*p.w);
      const std::int64_t from = std::max(begin, first), to = std::min(end, last);
      if (from < to) {
        const Matrix::State& m = p.w->state();
        const ActivationView in = x.state().view(m.kernel.form, table, pool);
        const std::int64_t row = (from - first) * kGranule,
                           row_end = std::min((to - first) * kGranule, m.view.rows);
        if (n == 1)
          m.kernel.matvec(m.view, in, row, row_end, p.y);
        else
          m.kernel.matmul(m.view, in, row, row_end, p.y, p.ldy);
      }
      first = last;
    }
  };
  const int threads = pool.size();
  if (threads == 1 && n == 1) {
    multiply(0, total);
    return;
  }
  const std::int64_t even = std::max<std::int64_t>(1, total / (threads * kPiecesPerThread));
  const std::int64_t piece = n == 1 ? even : std::min(even, kMatmulRows / kGranule);
  const int shares = std::min(threads, kShares);
  Share share[kShares];
  for (int s = 0; s < shares; ++s) {
    share[s].next.store(total * s / shares, std::memory_order_relaxed);
    share[s].end = total * (s + 1) / shares;
  }
  pool.run([&](int worker, int) {
    for (int i = 0; i < shares; ++i) {
      Share& s = share[(worker + i) % shares];
      for (std::int64_t begin;
           (begin = s.next.fetch_add(piece, std::memory_order_relaxed)) < s.end;)
        multiply(begin, std::min(begin + piece, s.end));
    }
  });
}

}  // namespace espalier::kernels
