// SPDX-License-Identifier: Apache-2.0
// Where long work tells how far it is. Libraries call a Progress they are given; the tools print it
// (a bar on a terminal, plain lines otherwise, nothing with --quiet). Not thread-safe: call it from
// the thread that leads the work.
#pragma once
#include <cstdint>
#include <functional>
#include <string>

namespace espalier::core {

struct ProgressEvent {
  std::string stage;      // "distil", "calibrate", ...
  std::int64_t done = 0;  // of total, in units
  std::int64_t total = 0;
  std::string unit;    // "tokens", "tensors"
  std::string detail;  // "loss 2.31  412 tokens/s"
};
using Progress = std::function<void(const ProgressEvent&)>;  // empty: silent

}  // namespace espalier::core
