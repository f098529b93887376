// SPDX-License-Identifier: Apache-2.0
// Reads and tokenizes text.
#include "data/corpus.h"

#include <filesystem>

#include "core/error.h"
#include "hash/folder.h"
#include "hash/sha256.h"
#include "text/documents.h"

namespace espalier::data {

Corpus load_corpus(const std::string& path, const text::Tokenizer& tokenizer,
                   const core::Progress& progress, const text::Reading& reading) {
  const text::Documents documents = text::read_documents(path);
  ESP_CHECK(!documents.empty(), input, path, ": the text is empty");
  text::TokenStream stream = text::token_stream(tokenizer, documents, reading);
  ESP_CHECK(!stream.tokens.empty(), input, path, ": the text has no tokens");
  if (progress)
    progress(
        {"text", 0, 0, "", path + ": " + text::describe_stream(tokenizer, stream.tokens.size())});
  return {path, text_sha256(path), std::move(stream.tokens), stream.bos, std::move(stream.reading)};
}

std::string text_sha256(const std::string& path) {
  std::error_code unreadable;
  return std::filesystem::is_directory(path, unreadable) ? hash::sha256_folder(path)
                                                         : hash::sha256_file(path);
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
