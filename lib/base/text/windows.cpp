// SPDX-License-Identifier: Apache-2.0
// Makes the stream of tokens that windows are cut from, and describes it for reports.
#include "text/windows.h"

#include <utility>

#include "core/error.h"
#include "core/notes.h"
#include "text/special_trie.h"

namespace espalier::text {
namespace {

bool is_control(TokenType type) { return type == TokenType::control || type == TokenType::unknown; }

// "docs.txt: 59 control tokens that are written out in the text are read as tokens (59 times
// <|endoftext|>); ..."
void note_control_tokens(const Tokenizer& tokenizer, const std::string& path,
                         const std::map<std::int32_t, std::int64_t>& written) {
  std::int64_t all = 0;
  std::string list;
  for (const auto& [id, n] : written) {
    all += n;
    list += (list.empty() ? "" : ", ") + std::to_string(n) + " times " +
            std::string(tokenizer.token(id));
  }
  core::note(path + ": " + std::to_string(all) +
             " control tokens that are written out are read as tokens (" + list +
             "); --text-control-tokens no, or control_tokens in the 'text' of a recipe, reads them "
             "as letters");
}

std::string described(const Documents& documents, bool control_tokens) {
  std::string out = documents.changes;
  if (!control_tokens) return out;
  if (!out.empty()) out += ',';
  out += "control tokens";
  return out;
}

}  // namespace

std::optional<std::int32_t> window_bos(const TokenizerSettings& settings) {
  return settings.add_bos ? settings.bos : std::nullopt;
}

TokenStream token_stream(const Tokenizer& tokenizer, const Documents& documents,
                         const Reading& reading, StreamStart start) {
  const std::optional<std::int32_t> eos = tokenizer.settings().eos;
  ESP_CHECK(documents.texts.size() <= 1 || eos, input, documents.path, ": has ",
            documents.texts.size(),
            " documents, and the tokenizer has no end token (EOS) to put between them; give one "
            "text");
  std::map<std::int32_t, std::int64_t> written;
  if (reading.control_tokens) written = written_control_tokens(tokenizer, documents);
  if (!written.empty()) note_control_tokens(tokenizer, documents.path, written);
  TokenStream out{{}, window_bos(tokenizer.settings()), described(documents, !written.empty())};
  if (start == StreamStart::llama_cpp && out.bos) out.tokens.push_back(*out.bos);
  for (std::size_t d = 0; d < documents.texts.size(); ++d) {
    std::string_view text = documents.texts[d];
    const bool last = d + 1 == documents.texts.size();
    if (start == StreamStart::llama_cpp && last && text.ends_with('\n')) text.remove_suffix(1);
    std::vector<std::int32_t> ids = tokenizer.encode(text, /*add_special=*/false,
                                                     /*parse_special=*/!written.empty());
    if (out.tokens.empty())
      out.tokens = std::move(ids);
    else
      out.tokens.insert(out.tokens.end(), ids.begin(), ids.end());
    if (!last) out.tokens.push_back(*eos);
  }
  return out;
}

std::map<std::int32_t, std::int64_t> written_control_tokens(const Tokenizer& tokenizer,
                                                            const Documents& documents) {
  SpecialTrie trie;
  const auto size = static_cast<std::int32_t>(tokenizer.vocab_size());
  for (std::int32_t id = 0; id < size; ++id)
    if (is_control(tokenizer.type(id))) trie.insert(tokenizer.token(id), id);
  std::map<std::int32_t, std::int64_t> out;
  if (trie.empty()) return out;
  for (const std::string& text : documents.texts)
    for (std::size_t from = 0; from < text.size();) {
      const SpecialTrie::Match match = trie.find(text, from);
      if (match.id < 0) break;
      ++out[match.id];
      from = match.start + match.length;
    }
  return out;
}

std::string describe_reading(const Tokenizer& tokenizer, const Documents& documents,
                             const Reading& reading) {
  return described(documents,
                   reading.control_tokens && !written_control_tokens(tokenizer, documents).empty());
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
