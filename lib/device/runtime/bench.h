// SPDX-License-Identifier: Apache-2.0
// Speed of a session: prefill and decode measured separately, each from an empty KV cache (or
// `depth` tokens), random tokens, no sampling; median of `repeat`. Beside them what the machine
// does at best, and energy where it tells.
#pragma once
#include <cstdint>
#include <optional>
#include <vector>

#include "runtime/session.h"

namespace espalier::runtime {

struct BenchOptions {
  std::int64_t prompt = 512, generate = 128, depth = 0;
  int repeat = 5;
  double sustained_seconds =
      0;  // > 0: decode without a pause for so long afterwards, to see the processor throttle
  std::uint64_t seed = 0;
};
struct BenchResult {
  double prefill_tokens_per_second = 0, decode_tokens_per_second = 0;  // medians
  double prefill_min = 0, prefill_max = 0, decode_min = 0, decode_max = 0;
  std::int64_t weight_bytes_per_token = 0, kv_bytes_per_token = 0;
  double read_gb_per_second = 0;    // weight bytes x decode speed
  std::int64_t peak_rss_bytes = 0;  // before the machine's peaks were measured
  // kernels/peaks.h, with the session's ISA and threads; empty where the system has no memory for
  // it.
  std::optional<double> read_bandwidth_gb_per_second;
  double int8_peak_gmac_per_second = 0;
  double prefill_gmac_per_second = 0;             // multiply-adds of matrices x prefill speed
  std::optional<double> decode_joules_per_token;  // by RAPL, of the whole package; empty without it
  std::vector<double> sustained_tokens_per_second;  // of ten equal parts of the time
};
BenchResult bench(Session& session, const BenchOptions& options);

}  // namespace espalier::runtime
