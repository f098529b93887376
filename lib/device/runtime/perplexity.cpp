// SPDX-License-Identifier: Apache-2.0
// Windows, scores and sums of the perplexity protocols.
#include "runtime/perplexity.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"

namespace espalier::runtime {

Protocol protocol_by_name(std::string_view name) {
  if (name == "windows") return Protocol::windows;
  if (name == "llama.cpp") return Protocol::llama_cpp;
  core::fail(core::ErrorKind::usage, "--protocol '", name, "': expected windows or llama.cpp");
}

text::TokenStream perplexity_stream(const text::Tokenizer& tokenizer,
                                    const text::Documents& documents,
                                    const text::Reading& reading) {
  ESP_CHECK(!documents.empty(), input, documents.path, ": the text is empty");
  return text::token_stream(tokenizer, documents, reading, text::StreamStart::llama_cpp);
}

std::vector<PerplexityWindow> perplexity_windows(const text::TokenStream& stream,
                                                 std::int64_t context, Protocol protocol,
                                                 std::int64_t max_windows) {
  ESP_CHECK(context >= 4, usage, "--context ", context, ": expected at least 4 tokens in a window");
  const std::int64_t all = static_cast<std::int64_t>(stream.tokens.size()) / context;
  ESP_CHECK(all > 0, input, "the text has ", stream.tokens.size(),
            " tokens, fewer than one window of ", context,
            "; give more text, or a smaller --context");
  const std::int64_t n = max_windows > 0 ? std::min(all, max_windows) : all;
  std::vector<PerplexityWindow> out;
  for (std::int64_t i = 0; i < n; ++i) {
    PerplexityWindow window{.tokens = std::vector<std::int32_t>(static_cast<std::size_t>(context)),
                            .first_scored = protocol == Protocol::llama_cpp ? context / 2 : 0};
    text::read_window(stream.tokens, stream.bos, i * all / n * context, std::span(window.tokens));
    out.push_back(std::move(window));
  }
  return out;
}

double negative_log_likelihood(std::span<const float> logits, std::int32_t token) {
  const float largest = *std::max_element(logits.begin(), logits.end());
  // exp() in float is exact to an ulp and several times faster. Four sums in double keep the
  // additions independent.
  double sum[4] = {};
  for (std::size_t i = 0; i < logits.size(); ++i)
    sum[i % 4] += static_cast<double>(std::exp(logits[i] - largest));
  return std::log((sum[0] + sum[1]) + (sum[2] + sum[3])) -
         (static_cast<double>(logits[static_cast<std::size_t>(token)]) -
          static_cast<double>(largest));
}

PerplexityResult perplexity(Session& session, const text::TokenStream& stream, std::int64_t context,
                            Protocol protocol, std::int64_t max_windows,
                            const PerplexityWatch& watch) {
  ESP_CHECK(context <= session.context(), usage, "--context ", context, ": the session holds ",
            session.context(), " positions");
  const std::vector<PerplexityWindow> windows =
      perplexity_windows(stream, context, protocol, max_windows);
  PerplexityResult result;
  double total = 0;
  std::int64_t done = 0;
  for (const PerplexityWindow& window : windows) {
    session.reset();
    // The last token is only predicted, not read.
    const std::span<const std::int32_t> read(window.tokens.data(), window.tokens.size() - 1);
    session.prefill_scored(
        read, window.first_scored, [&](std::int64_t index, std::span<const float> logits) {
          total +=
              negative_log_likelihood(logits, window.tokens[static_cast<std::size_t>(index) + 1]);
          ++result.tokens;
          if (watch.scored) watch.scored(logits);
        });
    result.mean_nll = total / static_cast<double>(result.tokens);
    result.perplexity = std::exp(result.mean_nll);
    if (watch.progress)
      watch.progress(++done, static_cast<std::int64_t>(windows.size()), result.perplexity);
  }
  session.check_unchanged();
  return result;
}

}  // namespace espalier::runtime
