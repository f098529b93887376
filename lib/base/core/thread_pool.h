// SPDX-License-Identifier: Apache-2.0
// A persistent thread pool. run(f) calls f(worker_index, n_workers) once on each worker and returns
// when all calls are done. The caller is worker 0. Idle workers spin for a short while, then sleep.
//
// run() does not allocate, may not be nested, and serves one caller at a time. There is no barrier
// inside a run: split the rows in advance. An exception in f ends the process, because f is
// noexcept.
#pragma once
#include <cstdint>
#include <memory>
#include <type_traits>

namespace espalier::core {

class ThreadPool {
 public:
  // n_threads 0: the number of processors that this thread may run on. `pin`: worker i stays on the
  // i-th of them. This thread stays on the first while the pool lives.
  explicit ThreadPool(int n_threads = 0, bool pin = false);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const;
  template <typename F>
  void run(F&& f) {
    run_raw(
        [](void* context, int worker, int workers) noexcept {
          (*static_cast<std::remove_reference_t<F>*>(context))(worker, workers);
        },
        &f);
  }
  // Calls f(begin, end) on contiguous shares of [0, n). Each share is a multiple of `granule`,
  // except that the last share ends at n.
  template <typename F>
  void split(std::int64_t n, std::int64_t granule, F&& f) {
    run([&](int worker, int workers) {
      const std::int64_t units = (n + granule - 1) / granule;
      const std::int64_t begin = units * worker / workers * granule,
                         end = units * (worker + 1) / workers * granule;
      if (begin < end) f(begin, end < n ? end : n);
    });
  }

 private:
  using Raw = void (*)(void*, int, int) noexcept;
  void run_raw(Raw f, void* context);
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace espalier::core
