// SPDX-License-Identifier: Apache-2.0
// A session and the tokens that it has read. A text that begins like the previous text is not read
// again: their common prefix stays in the KV cache.
#pragma once
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "runtime/session.h"

namespace espalier::runtime {

class TokenReader {
 public:
  // Keeps a reference. The session begins empty.
  explicit TokenReader(Session& session);

  Session& session() { return session_; }
  std::int64_t position() const { return static_cast<std::int64_t>(held_.size()); }
  std::int64_t room() const { return session_.context() - position(); }

  void reset();
  // Keeps the common prefix of the tokens read and `tokens`, but never all of `tokens`.
  void keep_common(std::span<const std::int32_t> tokens);
  // Makes the session hold exactly `tokens` (not empty). Returns the logits [V] of the last one.
  // Error(usage) when they do not fit.
  std::span<const float> read_all(std::span<const std::int32_t> tokens);
  // Appends tokens. read() returns the logits of the last token. read_scored() passes the logits of
  // every token to `take` (Session::prefill_scored).
  std::span<const float> read(std::span<const std::int32_t> tokens);
  void read_scored(
      std::span<const std::int32_t> tokens,
      const std::function<void(std::int64_t index, std::span<const float> logits_V)>& take);
  void rewind(std::int64_t position);  // keeps the first `position` tokens

 private:
  Session& session_;
  std::vector<std::int32_t> held_;
};

}  // namespace espalier::runtime
