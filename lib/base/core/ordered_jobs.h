// SPDX-License-Identifier: Apache-2.0
// Jobs that run on threads, and whose results are used one by one in the order in which the jobs
// were given. Reading and computing go on while earlier results are written. A few results wait at
// most; then give() waits too, so that memory is bounded.
//
// A job and the use of its result may throw. The error of a job comes when its turn has come, from
// give() or finish(). Nothing behind it is used; the object must then be destroyed.
#pragma once
#include <cstddef>
#include <functional>
#include <memory>
#include <vector>

namespace espalier::core {

class OrderedJobs {
 public:
  using Bytes = std::vector<std::byte>;
  using Job = std::function<void(Bytes& out)>;           // on some thread; `out` holds old bytes
  using Use = std::function<void(const Bytes& result)>;  // on the thread that calls

  explicit OrderedJobs(int threads);  // 1 or more, which only wait while there are no jobs
  ~OrderedJobs();                     // waits for the jobs that have begun, and drops all results
  OrderedJobs(const OrderedJobs&) = delete;
  OrderedJobs& operator=(const OrderedJobs&) = delete;

  // May use earlier results first.
  void give(Job job, Use use);
  // Uses all results.
  void finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace espalier::core
