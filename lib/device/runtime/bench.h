// SPDX-License-Identifier: Apache-2.0
// Measures the speed of a session. Prefill and decode are measured separately, each from an empty
// KV cache (or after `depth` tokens), with random tokens and without sampling. Results are medians
// of `repeat` runs. The result also holds the best speed of the machine, and energy where the
// system reports it.
#pragma once
#include <cstdint>
#include <optional>
#include <vector>

#include "runtime/session.h"

namespace espalier::runtime {

struct BenchOptions {
  std::int64_t prompt = 512, generate = 128, depth = 0;
  int repeat = 5;
  // > 0: afterwards decode this long without a pause, to see the processor throttle.
  double sustained_seconds = 0;
  std::uint64_t seed = 0;
};
struct BenchResult {
  double prefill_tokens_per_second = 0, decode_tokens_per_second = 0;  // medians
  double prefill_min = 0, prefill_max = 0, decode_min = 0, decode_max = 0;
  std::int64_t weight_bytes_per_token = 0, kv_bytes_per_token = 0;
  double read_gb_per_second = 0;    // weight bytes x decode speed
  std::int64_t peak_rss_bytes = 0;  // before the peaks of the machine were measured
  // The peaks of kernels/peaks.h, with the session's ISA and threads. Empty where the system has no
  // memory for the measurement.
  std::optional<double> read_bandwidth_gb_per_second;
  double int8_peak_gmac_per_second = 0;
  double prefill_gmac_per_second = 0;  // multiply-adds of all matrices x prefill speed
  // Energy of the whole package by RAPL. Empty without RAPL.
  std::optional<double> decode_joules_per_token;
  // One speed for each tenth of the sustained time.
  std::vector<double> sustained_tokens_per_second;
};
BenchResult bench(Session& session, const BenchOptions& options);

}  // namespace espalier::runtime
