// SPDX-License-Identifier: Apache-2.0
// Perplexity protocols: which windows are read and which predictions are scored. The device runtime
// and the training side share them.
#pragma once
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/session.h"
#include "text/windows.h"

namespace espalier::runtime {

// Both protocols read consecutive windows of C tokens of the stream that stock llama.cpp reads
// (text/windows.h). A partial last window is dropped. llama_cpp scores the predictions of tokens
// C/2+1 .. C-1 of each window. windows scores those of tokens 1 .. C-1.
enum class Protocol : std::uint8_t { windows, llama_cpp };
Protocol protocol_by_name(std::string_view name);

struct PerplexityWindow {
  std::vector<std::int32_t> tokens;  // C tokens
  // Logits of positions [first_scored, C - 2] predict the scored tokens.
  std::int64_t first_scored;
};
// The tokens of a text as both protocols read them.
text::TokenStream perplexity_stream(const text::Tokenizer& tokenizer,
                                    const text::Documents& documents,
                                    const text::Reading& reading = {});
// Error(input) when the stream is shorter than one window. Fewer than all windows are spread evenly
// over the text, so that they judge all of it. max_windows 0: all.
std::vector<PerplexityWindow> perplexity_windows(const text::TokenStream& stream,
                                                 std::int64_t context, Protocol protocol,
                                                 std::int64_t max_windows = 0);
struct PerplexityResult {
  double perplexity = 0, mean_nll = 0;
  std::int64_t tokens = 0;  // number of scored tokens
};
// -log softmax(logits)[token], in double.
double negative_log_likelihood(std::span<const float> logits, std::int32_t token);
// Who watches a measurement. Either may be empty.
struct PerplexityWatch {
  std::function<void(std::int64_t done, std::int64_t total, double so_far)> progress = {};
  // Called in order with the logits [vocab] of every scored prediction.
  std::function<void(std::span<const float> logits)> scored = {};
};
PerplexityResult perplexity(Session& session, const text::TokenStream& stream, std::int64_t context,
                            Protocol protocol, std::int64_t max_windows = 0,
                            const PerplexityWatch& watch = {});

}  // namespace espalier::runtime
