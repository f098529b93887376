// SPDX-License-Identifier: Apache-2.0
// Makes the stream of tokens that windows are cut from, and describes it for reports.
#include "text/windows.h"

namespace espalier::text {

std::optional<std::int32_t> window_bos(const TokenizerSettings& settings) {
  return settings.add_bos ? settings.bos : std::nullopt;
}

TokenStream token_stream(const Tokenizer& tokenizer, std::string_view text, StreamStart start) {
  TokenStream out{{}, window_bos(tokenizer.settings())};
  if (start == StreamStart::llama_cpp && text.ends_with('\n')) text.remove_suffix(1);
  out.tokens = tokenizer.encode(text, /*add_special=*/false);
  if (start == StreamStart::llama_cpp && out.bos) out.tokens.insert(out.tokens.begin(), *out.bos);
  return out;
}

std::string describe_stream(const Tokenizer& tokenizer, std::size_t n_tokens) {
  const TokenizerSettings& settings = tokenizer.settings();
  const std::optional<std::int32_t> bos = window_bos(settings);
  const std::string digits = std::to_string(n_tokens);
  std::string out;
  for (std::size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && (digits.size() - i) % 3 == 0) out += ',';
    out += digits[i];
  }
  out += " tokens; ";
  out += bos ? "each window begins with the model's BOS token (" + tokenizer.piece(*bos) + ")"
             : "windows begin without a BOS token, as this model uses none";
  if (settings.add_eos) out += "; EOS, which the model adds behind a text, is left out";
  return out;
}

}  // namespace espalier::text
