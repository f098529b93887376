// SPDX-License-Identifier: Apache-2.0
// The tiny checkpoints of tests/golden/model_* with what transformers, or where it has no such
// family a reference of our own, computes from them (scripts/golden/model.py): two of each family
// that have a GGUF, and more.
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace espalier::support {

inline constexpr const char* kGoldenModels[] = {
    "tied",       "untied",     "llama_biases", "mistral_window", "mistral_full", "smollm3_a",
    "smollm3_b",  "qwen2_a",    "qwen2_b",      "qwen3_a",        "qwen3_b",      "gemma2_a",
    "gemma2_b",   "gemma3_a",   "gemma3_b",     "phi3_a",         "phi3_b",       "phi3_window",
    "nemotron_a", "nemotron_b", "gpt2_a",       "gpt2_b",         "deci_a",       "deci_b",
    "deci_c",     "openelm_a",  "openelm_b",    "gemma3_c",       "llama_linear", "mistral_c",
    "smollm3_c",  "qwen2_c",    "qwen3_c",      "openelm_c",      "granite_a",    "granite_b",
    "granite4_a", "granite4_b"};

struct GoldenModel {
  std::string directory;
  std::vector<std::vector<std::int32_t>> sequences;  // of one length
  std::vector<float> values;                         // logits [sequences, tokens, V]
  std::map<std::string, double> control_distances;   // largest change of a logit by what is wrong:
                                                     // tests/support/wrong_models.py
};
GoldenModel golden_model(const std::string& name);

}  // namespace espalier::support
