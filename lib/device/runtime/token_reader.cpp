// SPDX-License-Identifier: Apache-2.0
// Reads tokens into a session and keeps what two texts have in common.
#include "runtime/token_reader.h"

#include <algorithm>

#include "core/error.h"

namespace espalier::runtime {

TokenReader::TokenReader(Session& session) : session_(session) { session_.reset(); }

void TokenReader::reset() {
  session_.reset();
  held_.clear();
}

void TokenReader::keep_common(std::span<const std::int32_t> tokens) {
  const std::size_t most = tokens.empty() ? 0 : std::min(held_.size(), tokens.size() - 1);
  std::size_t same = 0;
  while (same < most && held_[same] == tokens[same]) ++same;
  if (same < held_.size()) rewind(static_cast<std::int64_t>(same));
}

std::span<const float> TokenReader::read_all(std::span<const std::int32_t> tokens) {
  ESP_CHECK(!tokens.empty(), usage, "no tokens to read");
  ESP_CHECK(static_cast<std::int64_t>(tokens.size()) <= session_.context(), usage, "a text of ",
            tokens.size(), " tokens does not fit into --context ", session_.context());
  keep_common(tokens);
  return read(tokens.subspan(held_.size()));
}

std::span<const float> TokenReader::read(std::span<const std::int32_t> tokens) {
  // A single token takes the decoding path. That is faster, and every caller gets the same
  // arithmetic.
  std::span<const float> logits;
  if (tokens.size() == 1 && position() > 0) logits = session_.decode_step(tokens[0]);
  session_.require_finite_logits(logits);
  if (logits.empty()) logits = session_.prefill(tokens);  // or throws the error that says why
  held_.insert(held_.end(), tokens.begin(), tokens.end());
  return logits;
}

void TokenReader::read_scored(
    std::span<const std::int32_t> tokens,
    const std::function<void(std::int64_t index, std::span<const float> logits_V)>& take) {
  try {
    session_.prefill_scored(tokens, 0, take);
  } catch (...) {  // it is unknown how many tokens were read
    reset();
    throw;
  }
  held_.insert(held_.end(), tokens.begin(), tokens.end());
}

void TokenReader::rewind(std::int64_t position) {
  // Positions that a window has dropped do not come back. Then the text is read anew.
  if (position < session_.earliest_rewind())
    reset();
  else
    session_.rewind(position);
  held_.resize(static_cast<std::size_t>(session_.position()));
}

}  // namespace espalier::runtime
