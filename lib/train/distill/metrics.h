// SPDX-License-Identifier: Apache-2.0
// metrics.jsonl: one JSON object per step, with step, tokens, loss, every term of the loss by its
// name, learning_rate, grad_norm and tokens_per_second. It is the only file of a run that holds
// times, and no hash covers it.
#pragma once
#include <cstdint>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

namespace espalier::distill {

struct StepMetrics {
  std::int64_t step = 0, tokens = 0;  // after this step; step counts from 1
  double loss = 0;                    // per scored token, before the update, like the terms
  std::vector<std::pair<std::string, double>> terms = {};  // without their weights
  double learning_rate = 0, grad_norm = 0, tokens_per_second = 0;
};

class MetricsLog {
 public:
  // Keeps the first `keep_bytes` bytes of an existing file, which the checkpoint covers, and
  // appends after them.
  MetricsLog(const std::string& path, std::uint64_t keep_bytes);
  ~MetricsLog();
  MetricsLog(const MetricsLog&) = delete;
  MetricsLog& operator=(const MetricsLog&) = delete;
  void write(const StepMetrics& m);  // a whole line, flushed to the system
  std::uint64_t bytes() const { return bytes_; }

 private:
  std::string path_;
  std::FILE* file_ = nullptr;
  std::uint64_t bytes_ = 0;
};

// The median of tokens_per_second over the lines of a log. 0 when there are none.
double median_speed(const std::string& path);

}  // namespace espalier::distill
