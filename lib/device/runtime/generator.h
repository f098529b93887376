// SPDX-License-Identifier: Apache-2.0
// Writing text: the loop around a session, with what ends it, and speculative decoding when a draft
// model is there.
#pragma once
#include <cstdint>
#include <functional>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/sampler.h"
#include "runtime/session.h"
#include "runtime/token_reader.h"

namespace espalier::runtime {

// Tokens that end a text: the model's EOS and the control tokens with which models end a document
// or a turn.
std::set<std::int32_t> end_tokens(const text::Tokenizer& tokenizer);

struct GenerateOptions {
  std::int64_t tokens = 128;            // at most
  std::vector<std::string> stops = {};  // the text ends before the first of them
  std::int64_t draft_tokens = 4;        // guessed at a time when there is a draft
};

struct Generated {
  enum class End : std::uint8_t { end_token, stop_string, limit, context, caller };

  std::string text;                  // valid UTF-8, without the stop string
  std::vector<std::int32_t> tokens;  // without the end token; with those of the stop string
  End end = End::limit;
  double prefill_seconds = 0, decode_seconds = 0;

  // With a draft: guesses made, guesses that the target looked at (those behind a refused one are
  // not), and guesses it took.
  std::int64_t drafted = 0, judged = 0, accepted = 0,
               passes = 0;  // passes: of the target over guesses
  // Share of the judged guesses that were taken: the draft's likeness to its target, 1 for an equal
  // model.
  std::optional<double> acceptance_rate() const;
};
const char* end_name(Generated::End end);  // "end_token", ...

// Gets the text, whole characters at a time; false ends it. May be empty.
using Show = std::function<bool(std::string_view piece)>;

class Generator {
 public:
  // Keeps references. Error(input) when the draft's vocabulary is not the target's.
  explicit Generator(TokenReader& target, TokenReader* draft = nullptr);

  // Reads `prompt` (not empty) from position 0, keeping what the readers hold of it already if
  // `reuse`, and continues it. The sampler sees the prompt first. With a draft the text is as exact
  // as without: runtime/speculative.h.
  Generated run(std::span<const std::int32_t> prompt, Sampler& sampler,
                const GenerateOptions& options, const Show& show, bool reuse = false);

 private:
  TokenReader& target_;
  TokenReader* draft_;
};

}  // namespace espalier::runtime
