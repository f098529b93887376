// SPDX-License-Identifier: Apache-2.0
// A fork-join pool over a generation counter. Workers spin on the counter for about 50
// microseconds, then wait on it (futex). Each worker has a slot that holds the last generation
// whose share was claimed.
//
// A worker claims its own share. The caller finishes its share, then claims those that no worker
// has begun. So a worker that the system does not schedule (more programs than processors) delays
// nobody. Waiting for such a worker would cost a time slice of milliseconds at every join.
#include "core/thread_pool.h"

#include <pthread.h>
#include <sched.h>

#include <atomic>
#include <optional>
#include <thread>
#include <vector>

#include "core/error.h"

namespace espalier::core {
namespace {

constexpr int kSpins = 4000;

inline void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

cpu_set_t processors_of_this_thread() {
  cpu_set_t set;
  CPU_ZERO(&set);
  sched_getaffinity(0, sizeof set, &set);
  return set;
}

std::vector<int> allowed_processors(const cpu_set_t& set) {
  std::vector<int> out;
  for (int i = 0; i < CPU_SETSIZE; ++i)
    if (CPU_ISSET(static_cast<std::size_t>(i), &set)) out.push_back(i);
  if (out.empty()) out.push_back(0);
  return out;
}

void pin_to(int processor) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(static_cast<std::size_t>(processor), &set);
  pthread_setaffinity_np(pthread_self(), sizeof set, &set);
}

}  // namespace

struct ThreadPool::State {
  struct alignas(64) Slot {
    std::atomic<std::uint32_t> claimed{0};
  };
  bool claim(int worker, std::uint32_t of) {
    std::uint32_t before = of - 1;
    return slots[static_cast<std::size_t>(worker)].claimed.compare_exchange_strong(
        before, of, std::memory_order_acq_rel);
  }

  alignas(64) std::atomic<std::uint32_t> generation{0};
  alignas(64) std::atomic<std::uint32_t> pending{0};
  Raw job = nullptr;
  void* context = nullptr;
  // A worker that wakes late for an earlier generation may read this flag while it is set.
  std::atomic<bool> stop{false};
  int n = 1;
  std::vector<Slot> slots;
  std::vector<std::thread> threads;
  pthread_t caller = pthread_self();
  std::optional<cpu_set_t> unpinned;  // the caller's processors, when it was pinned
};

ThreadPool::ThreadPool(int n_threads, bool pin) : state_(std::make_unique<State>()) {
  const cpu_set_t allowed = processors_of_this_thread();
  const std::vector<int> processors = allowed_processors(allowed);
  ESP_CHECK(n_threads >= 0 && n_threads <= 1024, usage, "--threads ", n_threads,
            ": expected 0 (all processors) to 1024");
  State& s = *state_;
  s.n = n_threads > 0 ? n_threads : static_cast<int>(processors.size());
  s.slots = std::vector<State::Slot>(static_cast<std::size_t>(s.n));
  if (pin) {
    s.unpinned = allowed;
    pin_to(processors[0]);
  }
  for (int i = 1; i < s.n; ++i) {
    s.threads.emplace_back(
        [&s, i, pin, processor = processors[static_cast<std::size_t>(i) % processors.size()]] {
          if (pin) pin_to(processor);
          std::uint32_t seen = 0;
          while (true) {
            int spins = 0;
            while (s.generation.load(std::memory_order_acquire) == seen) {
              if (++spins < kSpins)
                pause();
              else
                s.generation.wait(seen, std::memory_order_acquire);
            }
            seen = s.generation.load(std::memory_order_acquire);
            if (s.stop.load(std::memory_order_relaxed)) return;
            // The caller claimed this share first. s.job may belong to another run by now.
            if (!s.claim(i, seen)) continue;
            s.job(s.context, i, s.n);
            if (s.pending.fetch_sub(1, std::memory_order_acq_rel) == 1) s.pending.notify_one();
          }
        });
  }
}

ThreadPool::~ThreadPool() {
  state_->stop.store(true, std::memory_order_relaxed);
  state_->generation.fetch_add(1, std::memory_order_release);
  state_->generation.notify_all();
  for (std::thread& t : state_->threads) t.join();
  if (state_->unpinned)
    pthread_setaffinity_np(state_->caller, sizeof *state_->unpinned, &*state_->unpinned);
}

int ThreadPool::size() const { return state_->n; }

void ThreadPool::run_raw(Raw f, void* context) {
  State& s = *state_;
  if (s.n == 1) {
    f(context, 0, 1);
    return;
  }
  s.job = f;
  s.context = context;
  s.pending.store(static_cast<std::uint32_t>(s.n - 1), std::memory_order_relaxed);
  s.generation.fetch_add(1, std::memory_order_release);
  s.generation.notify_all();
  f(context, 0, s.n);
  const std::uint32_t now = s.generation.load(std::memory_order_relaxed);
  std::uint32_t taken = 0;
  for (int i = 1; i < s.n; ++i)
    if (s.claim(i, now)) {
      f(context, i, s.n);
      ++taken;
    }
  if (taken > 0) s.pending.fetch_sub(taken, std::memory_order_acq_rel);
  int spins = 0;
  for (std::uint32_t left; (left = s.pending.load(std::memory_order_acquire)) != 0;) {
    if (++spins < kSpins)
      pause();
    else
      s.pending.wait(left, std::memory_order_acquire);
  }
}

}  // namespace espalier::core
