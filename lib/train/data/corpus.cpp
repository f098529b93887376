// SPDX-License-Identifier: Apache-2.0
// Reads and tokenizes text.
#include "data/corpus.h"

#include "core/error.h"
#include "core/file.h"
#include "hash/sha256.h"

namespace espalier::data {

Corpus load_corpus(const std::string& path, const text::Tokenizer& tokenizer,
                   const core::Progress& progress) {
  const std::string content = core::read_text_file(path);
  ESP_CHECK(!content.empty(), input, path, ": the file is empty");
  text::TokenStream stream = text::token_stream(tokenizer, content);
  ESP_CHECK(!stream.tokens.empty(), input, path, ": the text has no tokens");
  if (progress)
    progress(
        {"text", 0, 0, "", path + ": " + text::describe_stream(tokenizer, stream.tokens.size())});
  return {path, hash::sha256(content), std::move(stream.tokens), stream.bos};
}

void require_vocabulary(const Corpus& corpus, std::int64_t vocab) {
  const auto check = [&](std::int64_t id) {
    ESP_CHECK(id >= 0 && id < vocab, input, corpus.path, ": token id ", id,
              " is outside the model's vocabulary of ", vocab,
              "; the text was tokenized for another model");
  };
  for (const std::int32_t id : corpus.tokens) check(id);
  if (corpus.bos) check(*corpus.bos);
}

}  // namespace espalier::data
