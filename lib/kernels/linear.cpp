// One product: activations in the form the kernel wants, then rows in pieces that the threads take as they become free. Which thread
// computes a row does not change it, so results do not depend on the number of threads or on luck.
#include "kernels/linear.h"

#include <atomic>

#include "core/error.h"
#include "kernels/activations.h"
#include "kernels/matrix.h"

namespace espalier::kernels {
namespace {

constexpr std::int64_t kGranule = 32;        // rows; a multiple of every interleave, and of the pairs of groups matmul works on
constexpr std::int64_t kMatmulRows = 64;     // weights of a piece stay in the second-level cache while all tokens pass
constexpr std::int64_t kPiecesPerThread = 8;

std::int64_t piece_rows(std::int64_t rows, bool matvec, int threads) {
  if (threads == 1 && matvec) return rows;
  const std::int64_t even = rows / (threads * kPiecesPerThread) / kGranule * kGranule;
  const std::int64_t piece = even < kGranule ? kGranule : even;
  return matvec || piece < kMatmulRows ? piece : kMatmulRows;
}

}  // namespace

void linear(const KernelTable& table, const Matrix& w, Activations& x, float* y, std::int64_t ldy, core::ThreadPool& pool) noexcept {
  const Matrix::State& m = w.state();
  const std::int64_t rows = m.view.rows;
  ESP_ASSERT(m.table == &table && x.state().cols == m.view.cols && ldy >= rows);
  const ActivationView in = x.state().view(m.kernel.form, table, pool);
  if (in.n == 0 || rows == 0) return;
  const std::int64_t piece = piece_rows(rows, in.n == 1, pool.size());
  std::atomic<std::int64_t> next{0};
  auto work = [&](int, int) {
    while (true) {
      const std::int64_t begin = next.fetch_add(piece, std::memory_order_relaxed);
      if (begin >= rows) return;
      const std::int64_t end = begin + piece < rows ? begin + piece : rows;
      if (in.n == 1)
        m.kernel.matvec(m.view, in, begin, end, y);
      else
        m.kernel.matmul(m.view, in, begin, end, y, ldy);
    }
  };
  if (piece >= rows)
    work(0, 1);
  else
    pool.run(work);
}

}  // namespace espalier::kernels
