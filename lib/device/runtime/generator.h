// SPDX-License-Identifier: Apache-2.0
// Writes text: the loop around a session, the conditions that end it, and speculative decoding with
// a draft model.
#pragma once
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/sampler.h"
#include "runtime/session.h"
#include "runtime/token_reader.h"

namespace espalier::runtime {

struct GenerateOptions {
  std::int64_t tokens = 128;            // maximum number of tokens
  std::vector<std::string> stops = {};  // the text ends before the first occurrence of any
  std::int64_t draft_tokens = 4;        // tokens guessed at a time when there is a draft
};

struct Generated {
  enum class End : std::uint8_t { end_token, stop_string, limit, context, caller };

  std::string text;                  // valid UTF-8, without the stop string
  std::vector<std::int32_t> tokens;  // without the end token; with the tokens of the stop string
  End end = End::limit;
  double prefill_seconds = 0, decode_seconds = 0;

  // With a draft: the number of guesses, of guesses that the target judged, and of guesses that it
  // accepted. Guesses after a refused one are not judged. `passes` counts the passes of the target
  // over guesses.
  std::int64_t drafted = 0, judged = 0, accepted = 0, passes = 0;
  // The share of judged guesses that were accepted. It measures how similar the draft is to its
  // target, and is 1 for an equal model.
  std::optional<double> acceptance_rate() const;
};
const char* end_name(Generated::End end);  // "end_token", ...

// Receives the text in whole characters. Return false to end the text. May be empty.
using Show = std::function<bool(std::string_view piece)>;

class Generator {
 public:
  // Keeps references. Error(input) when the draft's vocabulary differs from the target's.
  explicit Generator(TokenReader& target, TokenReader* draft = nullptr);

  // Reads `prompt` (not empty) from position 0 and continues it. With `reuse`, the readers keep the
  // part of the prompt that they hold already. The sampler sees the prompt first. A draft does not
  // change the distribution of the text (runtime/speculative.h).
  Generated run(std::span<const std::int32_t> prompt, Sampler& sampler,
                const GenerateOptions& options, const Show& show, bool reuse = false);

 private:
  // Returns the target's logits behind the prompt. They live until it reads again.
  std::span<const float> read_prompt(std::span<const std::int32_t> prompt, bool reuse);

  TokenReader& target_;
  TokenReader* draft_;
};

}  // namespace espalier::runtime
