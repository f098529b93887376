// Speed of a session: prefill and decode measured separately, each from an empty KV cache (or `depth` tokens), random tokens, no
// sampling; median of `repeat`.
#pragma once
#include <cstdint>

#include "runtime/session.h"

namespace espalier::runtime {

struct BenchOptions {
  std::int64_t prompt = 512, generate = 128, depth = 0;
  int repeat = 5;
  std::uint64_t seed = 0;
};
struct BenchResult {
  double prefill_tokens_per_second = 0, decode_tokens_per_second = 0;              // medians
  double prefill_min = 0, prefill_max = 0, decode_min = 0, decode_max = 0;
  std::int64_t weight_bytes_per_token = 0, kv_bytes_per_token = 0;
  double read_gb_per_second = 0;                                                   // weight bytes x decode speed
  std::int64_t peak_rss_bytes = 0;
};
BenchResult bench(Session& session, const BenchOptions& options);

}  // namespace espalier::runtime
