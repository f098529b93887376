// SPDX-License-Identifier: Apache-2.0
// A queue under one lock: jobs that have run, jobs that run, and jobs that wait, in this order. The
// memory of results is used again.
#include "core/ordered_jobs.h"

#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <thread>
#include <utility>

namespace espalier::core {
namespace {

struct Task {
  OrderedJobs::Job job;
  OrderedJobs::Use use;
  OrderedJobs::Bytes result;
  std::exception_ptr failed;
  bool done = false;
};

}  // namespace

struct OrderedJobs::State {
  std::mutex lock;
  std::condition_variable given, done;
  std::deque<Task> tasks;    // a reference to a task stays valid while others come and go
  std::size_t begun = 0;     // the first so many tasks have been taken by a thread
  std::vector<Bytes> spare;  // memory of results that have been used
  bool stop = false;
  std::vector<std::thread> threads;

  void work() {
    std::unique_lock hold(lock);
    while (true) {
      given.wait(hold, [&] { return stop || begun < tasks.size(); });
      if (stop) return;
      Task& task = tasks[begun++];
      if (!spare.empty()) {
        task.result = std::move(spare.back());
        spare.pop_back();
      }
      hold.unlock();
      try {
        task.job(task.result);
      } catch (...) {
        task.failed = std::current_exception();
      }
      hold.lock();
      task.done = true;
      done.notify_one();
    }
  }

  void use_first() {
    Task first;
    {
      std::unique_lock hold(lock);
      done.wait(hold, [&] { return tasks.front().done; });
      first = std::move(tasks.front());
      tasks.pop_front();
      --begun;
    }
    if (first.failed) std::rethrow_exception(first.failed);
    first.use(first.result);
    const std::lock_guard hold(lock);
    spare.push_back(std::move(first.result));
  }
};

OrderedJobs::OrderedJobs(int threads) : state_(std::make_unique<State>()) {
  for (int i = 0; i < threads; ++i) state_->threads.emplace_back([this] { state_->work(); });
}

OrderedJobs::~OrderedJobs() {
  {
    const std::lock_guard hold(state_->lock);
    state_->stop = true;
  }
  state_->given.notify_all();
  for (std::thread& t : state_->threads) t.join();
}

void OrderedJobs::give(Job job, Use use) {
  State& s = *state_;
  // Only this thread adds and removes tasks. Two for each thread: one runs, and one waits.
  while (s.tasks.size() >= 2 * s.threads.size() + 1) s.use_first();
  {
    const std::lock_guard hold(s.lock);
    s.tasks.push_back({std::move(job), std::move(use), {}, {}, false});
  }
  s.given.notify_one();
}

void OrderedJobs::finish() {
  while (!state_->tasks.empty()) state_->use_first();
}

}  // namespace espalier::core
