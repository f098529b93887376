// SPDX-License-Identifier: Apache-2.0
// Sampling defaults that both GGUF and generation_config.json have a key for.
#pragma once

namespace espalier::checkpoint {

struct SamplingKey {
  const char *gguf, *config;
  bool is_whole = false;
};
inline constexpr SamplingKey kSamplingKeys[] = {
    {"general.sampling.temp", "temperature"},
    {"general.sampling.top_k", "top_k", true},
    {"general.sampling.top_p", "top_p"},
    {"general.sampling.min_p", "min_p"},
    {"general.sampling.penalty_repeat", "repetition_penalty"}};

}  // namespace espalier::checkpoint
