// SPDX-License-Identifier: Apache-2.0
// Sampling defaults that both GGUF and generation_config.json have a key for.
#pragma once

namespace espalier::checkpoint {

struct SamplingKey {
  const char *gguf, *config;
  double least, most;
  bool is_whole = false;
};
inline constexpr SamplingKey kSamplingKeys[] = {
    {"general.sampling.temp", "temperature", 0, 1e4},
    {"general.sampling.top_k", "top_k", 0, 1e9, true},
    {"general.sampling.top_p", "top_p", 0, 1},
    {"general.sampling.min_p", "min_p", 0, 1},
    {"general.sampling.penalty_repeat", "repetition_penalty", 0, 1e4}};

}  // namespace espalier::checkpoint
