// SPDX-License-Identifier: Apache-2.0
// How long-running work reports its progress. A library calls the Progress that it was given. The
// tools print it: a bar on a terminal, plain lines otherwise, nothing with --quiet.
//
// Not thread-safe: call it from the thread that leads the work.
#pragma once
#include <cstdint>
#include <functional>
#include <string>

namespace espalier::core {

struct ProgressEvent {
  std::string stage;       // "distil", "calibrate", ...
  std::int64_t done = 0;   // of `total`, counted in `unit`
  std::int64_t total = 0;  // 0: `detail` is a notice, and nothing is counted
  std::string unit;        // "tokens", "tensors"
  std::string detail;      // "loss 2.31  412 tokens/s"
};
// An empty function reports nothing.
using Progress = std::function<void(const ProgressEvent&)>;

}  // namespace espalier::core
