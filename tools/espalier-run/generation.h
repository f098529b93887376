// Writing text with a session: the loop of generate and chat, and output that never cuts a character in two.
#pragma once
#include <cstdint>
#include <functional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/session.h"

namespace espalier::tool {

// Collects bytes and hands out whole UTF-8 characters; bytes that cannot become one are handed out as they are.
class Utf8Stream {
 public:
  std::string push(std::string_view bytes);  // what is complete now
  std::string finish();                      // what is left
 private:
  std::string held_;
};

// Tokens that end a text: the model's EOS and the control tokens that models use to end a document or a turn.
std::set<std::int32_t> end_tokens(const text::Tokenizer& tokenizer);

struct Generated {
  std::string text;
  std::vector<std::int32_t> tokens;  // without the end token
  bool ended = false;                // by an end token; otherwise by the limit or a full context
  double prefill_seconds = 0, decode_seconds = 0;
};
// Reads the prompt, then writes at most `limit` tokens; `show` gets the text piece by piece.
Generated generate(runtime::Session& session, runtime::Sampler& sampler, const std::vector<std::int32_t>& prompt, std::int64_t limit,
                   const std::function<void(std::string_view)>& show);

}  // namespace espalier::tool
