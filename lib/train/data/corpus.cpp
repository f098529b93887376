// SPDX-License-Identifier: Apache-2.0
// Reads and tokenizes text.
#include "data/corpus.h"

#include "core/error.h"
#include "core/file.h"
#include "hash/sha256.h"

namespace espalier::data {

Corpus load_corpus(const std::string& path, const text::Tokenizer& tokenizer) {
  const std::string content = core::read_text_file(path);
  ESP_CHECK(!content.empty(), input, path, ": the file is empty");
  Corpus corpus{path, hash::sha256(content), tokenizer.encode(content, /*add_special=*/false)};
  ESP_CHECK(!corpus.tokens.empty(), input, path, ": the text has no tokens");
  return corpus;
}

}  // namespace espalier::data
