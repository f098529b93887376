// SPDX-License-Identifier: Apache-2.0
// A directory of sparse teacher logits (logit_file.h) with its manifest: what `espalier cache`
// leaves and `espalier distill --cached` reads. Its windows lie on one grid: they start at offset,
// offset + sequence, ... of the text, offset being that of the seed's first epoch. A run with the
// cache's seed so draws in its first epoch the very windows that it would draw with the teacher in
// memory; later epochs, which shift their windows when a teacher computes them anew, stay on the
// grid. Any seed may order them.
#pragma once
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "data/corpus.h"
#include "distill/logit_file.h"

namespace espalier::distill {

// What a tokenizer makes of text, as far as it can be told without its model: kind, tokens, types,
// merges.
std::string tokenizer_sha256(const text::TokenizerData& data);
std::string token_ids_sha256(const data::Corpus& corpus);
// logits-00000.bin, ...
std::string logit_file_name(std::size_t index);

class LogitCache {
 public:
  explicit LogitCache(const std::string& directory);  // reads the headers; Error(input) for an
                                                      // unfinished or broken one

  const LogitHeader& shape() const { return shape_; }      // its `starts` are of no file
  const std::string& teacher() const { return teacher_; }  // sha256
  std::int64_t windows() const { return static_cast<std::int64_t>(places_.size()); }

  // Error(input) naming what differs from what the logits were computed on.
  void require(const data::Corpus& corpus, const text::TokenizerData& tokenizer, std::int64_t vocab,
               std::int64_t sequence) const;
  std::int64_t on_grid(std::int64_t start) const {
    return start / shape_.sequence * shape_.sequence + offset_;
  }
  bool has(std::int64_t start) const { return places_.contains(start); }
  SparseLogits window(std::int64_t start) const;  // of one that it has

 private:
  std::string directory_, teacher_, text_, tokenizer_, token_ids_;
  LogitHeader shape_;
  std::int64_t offset_ = 0;
  std::vector<std::string> files_;
  std::map<std::int64_t, std::pair<std::size_t, std::int64_t>>
      places_;  // start -> file, window in it
};

}  // namespace espalier::distill
