// SPDX-License-Identifier: Apache-2.0
// Tokens of questions, and trees of requests.
#include "tasks/request.h"

#include <algorithm>

#include "core/error.h"
#include "tasks/python_text.h"

namespace espalier::tasks {
namespace {

std::int64_t read_tokens(const Request& request) {
  return static_cast<std::int64_t>(request.ids.size()) - 1;
}

// How many of the first tokens all of them read alike.
std::int64_t shared_tokens(const std::vector<const Request*>& requests) {
  const Request& first = *requests.front();
  std::int64_t shared = read_tokens(first);
  for (const Request* r : requests) {
    const std::int64_t most = std::min(shared, read_tokens(*r));
    shared = std::mismatch(first.ids.begin(), first.ids.begin() + most, r->ids.begin()).first -
             first.ids.begin();
  }
  return shared;
}

Tree tree_of(const std::vector<const Request*>& requests, const std::vector<std::size_t>& numbers) {
  Tree out;
  out.trunk = shared_tokens(requests);
  const Request& first = *requests.front();
  out.ids.assign(first.ids.begin(), first.ids.begin() + out.trunk);
  for (std::size_t i = 0; i < requests.size(); ++i) {
    const Request& r = *requests[i];
    const std::int64_t n = read_tokens(r), begin = static_cast<std::int64_t>(out.ids.size());
    out.ids.insert(out.ids.end(), r.ids.begin() + out.trunk, r.ids.begin() + n);
    out.branches.push_back(n - out.trunk);
    for (std::int64_t at = n - r.scored; at < n; ++at)
      out.predictions.push_back({.row = at < out.trunk ? at : begin + at - out.trunk,
                                 .token = r.ids[static_cast<std::size_t>(at) + 1],
                                 .request = numbers[i]});
  }
  return out;
}

}  // namespace

Encoder::Encoder(const text::Tokenizer& tokenizer, std::int64_t positions)
    : tokenizer_(tokenizer), positions_(positions) {
  const text::TokenizerSettings& settings = tokenizer.settings();
  const std::optional<std::int32_t> prefix = settings.bos ? settings.bos : settings.eos;
  if (!prefix) return;
  prefix_id_ = *prefix;
  prefix_ = tokenizer.decode({prefix_id_});
}

// A text that begins with BOS written out does not get a second one.
std::vector<std::int32_t> Encoder::encoded(const std::string& text) const {
  const bool has_prefix = !prefix_.empty() && text.starts_with(prefix_);
  return tokenizer_.encode(text, /*add_special=*/!has_prefix, /*parse_special=*/true);
}

Request Encoder::without_context(const Question& question) const {
  ESP_CHECK(
      prefix_id_ >= 0, input,
      "an item without a context needs a tokenizer with BOS or EOS, and this one has neither");
  Request out{.ids = tokenizer_.encode(question.continuation, false, true)};
  out.scored = static_cast<std::int64_t>(out.ids.size());
  if (!out.ids.empty() && out.ids.front() == prefix_id_)
    --out.scored;
  else
    out.ids.insert(out.ids.begin(), prefix_id_);
  return out;
}

Request Encoder::encode(const Question& question) {
  Request out;
  if (question.context.empty()) {
    out = without_context(question);
  } else {
    const std::size_t white = trailing_white_bytes(question.context);
    const std::string context = question.context.substr(0, question.context.size() - white);
    if (context != context_ || context_ids_.empty()) {
      context_ = context;
      context_ids_ = encoded(context);
    }
    ESP_CHECK(!context_ids_.empty(), input, "the context is white space, which has no token");
    const std::vector<std::int32_t> whole = encoded(question.context + question.continuation);
    out.ids = context_ids_;
    if (whole.size() > context_ids_.size())
      out.ids.insert(out.ids.end(), whole.begin() + static_cast<long>(context_ids_.size()),
                     whole.end());
    out.scored = static_cast<std::int64_t>(out.ids.size() - context_ids_.size());
  }
  ESP_CHECK(out.scored > 0, input, "the continuation '", question.continuation,
            "' has no token of its own behind its context");
  ESP_CHECK(out.scored <= positions_, input, "a continuation of ", out.scored,
            " tokens is longer than the ", positions_, " positions of the model");
  const auto n = static_cast<std::int64_t>(out.ids.size());
  if (n > positions_ + 1) {
    out.ids.erase(out.ids.begin(), out.ids.begin() + (n - positions_ - 1));
    out.truncated = true;
  }
  return out;
}

std::int64_t Tree::longest() const {
  return trunk + (branches.empty() ? 0 : *std::max_element(branches.begin(), branches.end()));
}

std::vector<Tree> trees_of(std::span<const Request> requests, std::size_t first,
                           std::int64_t split) {
  std::vector<const Request*> of[2];
  std::vector<std::size_t> numbers[2];
  for (std::size_t i = 0; i < requests.size(); ++i) {
    const bool is_long = split > 0 && read_tokens(requests[i]) > split;
    of[is_long].push_back(&requests[i]);
    numbers[is_long].push_back(first + i);
  }
  std::vector<Tree> out;
  for (const int is_long : {0, 1})
    if (!of[is_long].empty()) out.push_back(tree_of(of[is_long], numbers[is_long]));
  return out;
}

}  // namespace espalier::tasks
