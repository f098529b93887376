// SPDX-License-Identifier: Apache-2.0
// Questions as tokens, and the requests of one item as a tree, so that what they share is read
// once.
//
// The tokens are those of lm-evaluation-harness (lm_eval/api/model.py, _encode_pair): white space
// at the end of a context belongs to the continuation. Context and continuation are encoded
// together, and what lies behind as many tokens as the context alone has is the continuation. BOS
// stands in front where the tokenizer adds it. Without a context, BOS or else EOS is the context.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "tasks/task.h"
#include "text/tokenizer.h"

namespace espalier::tasks {

struct Request {
  std::vector<std::int32_t> ids;  // context and continuation; the last one is predicted, not read
  std::int64_t scored = 0;        // tokens of the continuation
  bool truncated = false;
};

class Encoder {
 public:
  // A model reads at most `positions` tokens. Longer requests lose tokens on the left.
  Encoder(const text::Tokenizer& tokenizer, std::int64_t positions);
  // Error(input) for a context or a continuation that has no token, and for a continuation that is
  // longer than the positions. Not thread-safe.
  Request encode(const Question& question);

 private:
  std::vector<std::int32_t> encoded(const std::string& text) const;
  Request without_context(const Question& question) const;

  const text::Tokenizer& tokenizer_;
  std::int64_t positions_;
  std::string prefix_;  // as a text of its token; empty: the tokenizer has neither BOS nor EOS
  std::int32_t prefix_id_ = -1;
  // Of the question before, which mostly has the same context.
  std::string context_;
  std::vector<std::int32_t> context_ids_;
};

// The log-probability of `token` behind the tokens up to `row` is part of a request's.
struct Prediction {
  std::int64_t row = 0;  // of the tree
  std::int32_t token = 0;
  std::size_t request = 0;  // of all requests
};
// Requests that begin alike. Rows are tokens: those that all share, then what each has of its own.
struct Tree {
  std::vector<std::int32_t> ids = {};
  std::int64_t trunk = 0;                   // tokens that are shared
  std::vector<std::int64_t> branches = {};  // tokens of each request behind them; may be 0
  std::vector<Prediction> predictions = {};

  std::int64_t longest() const;  // tokens of the longest request
};
// Requests first, first + 1, .. of all. Requests of at most `split` tokens and longer ones get
// trees of their own, for models that read long texts otherwise; 0: no split.
std::vector<Tree> trees_of(std::span<const Request> requests, std::size_t first,
                           std::int64_t split);

}  // namespace espalier::tasks
