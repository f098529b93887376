// SPDX-License-Identifier: Apache-2.0
// How every verb reads text as windows of tokens, for training and calibration as for perplexity.
//
//   stream  The whole text (text/documents.h), tokenized once. Control tokens that are written out
//           in it are those tokens, unless the user wants letters. EOS stands between documents,
//           and not behind the last one: the end of a file need not be the end of what it says.
//   window  n consecutive tokens of the stream. Where the model adds BOS, BOS stands over the first
//           of them, since such a model has never read a text without one. The window keeps its
//           length, and its other tokens keep their places.
//   target  Of each position: the next token of the stream, never the BOS of a window. What the
//           model predicts behind BOS counts like any other prediction. The token that BOS covers
//           is the target of the last position of the window before it.
//
// llama-perplexity and llama-imatrix read the same windows of a stream with one BOS in front.
#pragma once
#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "text/documents.h"
#include "text/tokenizer.h"

namespace espalier::text {

struct TokenStream {
  std::vector<std::int32_t> tokens;
  std::optional<std::int32_t> bos;  // over the first token of each window; none: not added
  std::string reading = {};         // describe_reading() of the same
};
enum class StreamStart : std::uint8_t {
  plain,      // the tokens of the text alone
  llama_cpp,  // as stock llama.cpp: one newline at the end of the text is dropped, and BOS stands
              // in front where the model adds it
};
// Leaves a note that names the control tokens which are read as such. Error(input) for several
// documents and a tokenizer without EOS.
TokenStream token_stream(const Tokenizer& tokenizer, const Documents& documents,
                         const Reading& reading = {}, StreamStart start = StreamStart::plain);
// How often each control token is written out in the documents; only those that are.
std::map<std::int32_t, std::int64_t> written_control_tokens(const Tokenizer& tokenizer,
                                                            const Documents& documents);
// What is read differently than the letters of a file say, for identities. Empty: nothing.
std::string describe_reading(const Tokenizer& tokenizer, const Documents& documents,
                             const Reading& reading);

// What stands over the first token of each window: BOS where the model adds it.
std::optional<std::int32_t> window_bos(const TokenizerSettings& settings);

// The window of out.size() tokens at `start`, which must lie in `tokens`.
template <typename Id>
void read_window(std::span<const std::int32_t> tokens, std::optional<std::int32_t> bos,
                 std::int64_t start, std::span<Id> out) {
  std::copy_n(tokens.begin() + start, out.size(), out.begin());
  if (bos && !out.empty()) out.front() = *bos;
}

// For the log, once for a text: "12,345 tokens; each window begins with the model's BOS token
// (<s>)".
std::string describe_stream(const Tokenizer& tokenizer, std::size_t n_tokens);

}  // namespace espalier::text
