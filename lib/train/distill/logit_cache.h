// SPDX-License-Identifier: Apache-2.0
// A directory of sparse teacher logits (logit_file.h) with its manifest. `espalier cache` writes it
// and `espalier distill --cached` reads it. Its windows lie on one grid: they start at offset,
// offset + sequence, ... of the text. The offset is that of the first epoch of the seed.
//
// With the cache's seed, epoch 1 reads exactly the windows that a run with a live teacher would
// read. Later epochs reuse these windows, where a run with a live teacher would shift them. Any
// seed may order them.
//
// The manifest says what stood over the first token of each window (text/windows.h). A student that
// would read other windows is refused.
#pragma once
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "data/corpus.h"
#include "distill/logit_file.h"

namespace espalier::distill {

// Hash of what a tokenizer makes of text, as far as it is known without the model: kind, tokens,
// types, merges.
std::string tokenizer_sha256(const text::TokenizerData& data);
std::string token_ids_sha256(const data::Corpus& corpus);
// logits-00000.bin, ...
std::string logit_file_name(std::size_t index);

class LogitCache {
 public:
  // Reads the headers. Error(input) for an unfinished or broken cache.
  explicit LogitCache(const std::string& directory);

  const LogitHeader& shape() const { return shape_; }      // its `starts` are not set
  const std::string& teacher() const { return teacher_; }  // sha256
  std::int64_t windows() const { return static_cast<std::int64_t>(places_.size()); }

  // Error(input) naming what differs from the inputs from which the logits were computed.
  void require(const data::Corpus& corpus, const text::TokenizerData& tokenizer, std::int64_t vocab,
               std::int64_t sequence) const;
  std::int64_t on_grid(std::int64_t start) const {
    return start / shape_.sequence * shape_.sequence + offset_;
  }
  bool has(std::int64_t start) const { return places_.contains(start); }
  objective::SparseLogits window(std::int64_t start) const;  // the window must exist

 private:
  std::string directory_, teacher_, text_, tokenizer_, token_ids_;
  std::optional<std::int64_t> bos_;  // over the first token of each window
  LogitHeader shape_;
  std::int64_t offset_ = 0;
  std::vector<std::string> files_;
  // start -> file, index of the window in it.
  std::map<std::int64_t, std::pair<std::size_t, std::int64_t>> places_;
};

}  // namespace espalier::distill
