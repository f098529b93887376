// SPDX-License-Identifier: Apache-2.0
// Perplexity protocols (documented in README, "Protocols"): which windows are read and which
// predictions are scored. Shared by the device runtime and the training side.
#pragma once
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/session.h"

namespace espalier::runtime {

// llama_cpp: scored are the predictions of tokens C/2+1 .. C-1 of each window; windows: of tokens 1
// .. C-1. Both: the whole text is tokenized once (one trailing newline dropped), consecutive
// windows of C tokens, a partial last window dropped, the first token of each replaced by BOS when
// the model adds one.
enum class Protocol : std::uint8_t { windows, llama_cpp };
Protocol protocol_by_name(std::string_view name);

struct PerplexityWindow {
  std::vector<std::int32_t> tokens;  // C of them
  std::int64_t first_scored;  // logits of positions [first_scored, C - 2] predict the scored tokens
};
// Error(input) when the text gives no whole window. max_windows 0: all.
std::vector<PerplexityWindow> perplexity_windows(const text::Tokenizer& tokenizer,
                                                 std::string_view text, std::int64_t context,
                                                 Protocol protocol, std::int64_t max_windows = 0);
struct PerplexityResult {
  double perplexity = 0, mean_nll = 0;
  std::int64_t tokens = 0;  // scored
};
// -log softmax(logits)[token], in double.
double negative_log_likelihood(std::span<const float> logits, std::int32_t token);
// `scored`: called with the logits [vocab] behind every scored prediction, in order.
PerplexityResult perplexity(
    Session& session, std::string_view text, std::int64_t context, Protocol protocol,
    std::int64_t max_windows = 0,
    const std::function<void(std::int64_t done, std::int64_t total, double so_far)>& progress = {},
    const std::function<void(std::span<const float> logits)>& scored = {});

}  // namespace espalier::runtime
