// SPDX-License-Identifier: Apache-2.0
// The generation loop, with and without a draft model.
#include "runtime/generator.h"

#include <algorithm>
#include <chrono>

#include "core/error.h"
#include "runtime/speculative.h"
#include "runtime/text_stream.h"

namespace espalier::runtime {
namespace {

using Clock = std::chrono::steady_clock;
double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// The text of one run: takes its tokens, shows their characters, and knows when it ends.
class Writing {
 public:
  Writing(const Session& session, const GenerateOptions& options, const Show& show)
      : tokenizer_(session.tokenizer()),
        show_(show),
        limit_(options.tokens),
        stream_(options.stops),
        ends_(session.end_tokens()),
        open_(options.tokens > 0) {}

  bool open() const { return open_; }  // another token may follow
  std::int64_t left() const { return limit_ - static_cast<std::int64_t>(made.tokens.size()); }
  const std::set<std::int32_t>& ends() const { return ends_; }

  // Returns open().
  bool take(std::int32_t token) {
    open_ = false;
    if (ends_.contains(token)) {
      made.end = Generated::End::end_token;
      return false;
    }
    made.tokens.push_back(token);
    const bool wanted = emit(stream_.push(tokenizer_.piece(token)));
    made.end = !wanted             ? Generated::End::caller
               : stream_.stopped() ? Generated::End::stop_string
                                   : Generated::End::limit;
    return open_ = wanted && !stream_.stopped() && left() > 0;
  }
  // Shows what was held back.
  void finish() {
    if (open_) made.end = Generated::End::context;
    if (made.end != Generated::End::caller) emit(stream_.finish());
  }

  Generated made;

 private:
  bool emit(const std::string& text) {
    made.text += text;
    return !show_ || text.empty() || show_(text);
  }

  const text::Tokenizer& tokenizer_;
  const Show& show_;
  std::int64_t limit_;
  TextStream stream_;
  const std::set<std::int32_t>& ends_;
  bool open_;
};

// Token by token.
void write_alone(TokenReader& target, Sampler& sampler, Writing& writing) {
  while (writing.open() && target.room() > 0) {
    const std::int32_t token = sampler.pick(target.read({&writing.made.tokens.back(), 1}));
    sampler.see(token);
    writing.take(token);
  }
}

// Round by round, behind `prompt` and the first token.
void write_with_draft(Speculation& speculation, TokenReader& target, std::int64_t draft_tokens,
                      std::span<const std::int32_t> prompt, Writing& writing) {
  Generated& made = writing.made;
  std::vector<std::int32_t> text(prompt.begin(), prompt.end());
  while (writing.open() && target.room() > 0) {
    text.insert(text.end(),
                made.tokens.begin() + static_cast<std::ptrdiff_t>(text.size() - prompt.size()),
                made.tokens.end());
    const SpeculativeRound round =
        speculation.round(text, std::min(draft_tokens, writing.left() - 1),
                          [&](std::int32_t token) { return writing.take(token); });
    made.drafted += round.drafted;
    made.judged += round.judged;
    made.accepted += round.accepted;
    ++made.passes;
  }
}

}  // namespace

std::optional<double> Generated::acceptance_rate() const {
  if (judged == 0) return std::nullopt;
  return static_cast<double>(accepted) / static_cast<double>(judged);
}

const char* end_name(Generated::End end) {
  switch (end) {
    case Generated::End::end_token:
      return "end_token";
    case Generated::End::stop_string:
      return "stop_string";
    case Generated::End::limit:
      return "limit";
    case Generated::End::context:
      return "context";
    case Generated::End::caller:
      return "caller";
  }
  return "";
}

Generator::Generator(TokenReader& target, TokenReader* draft) : target_(target), draft_(draft) {
  ESP_CHECK(draft == nullptr ||
                target.session().tokenizer().same_vocabulary(draft->session().tokenizer()),
            input,
            "--draft: the draft's vocabulary differs from the model's, so it cannot guess tokens; "
            "give a student of this model with the same tokenizer");
}

std::span<const float> Generator::read_prompt(std::span<const std::int32_t> prompt, bool reuse) {
  if (!reuse) target_.reset();
  if (!reuse && draft_ != nullptr) draft_->reset();
  const std::span<const float> logits = target_.read_all(prompt);
  if (draft_ != nullptr) {
    draft_->keep_common(prompt);
    if (static_cast<std::int64_t>(prompt.size()) <= draft_->session().context())
      draft_->read_all(prompt);
  }
  return logits;
}

Generated Generator::run(std::span<const std::int32_t> prompt, Sampler& sampler,
                         const GenerateOptions& options, const Show& show, bool reuse) {
  ESP_CHECK(draft_ == nullptr || options.draft_tokens >= 1, usage, "--draft-tokens ",
            options.draft_tokens, ": expected 1 or more");
  Writing writing(target_.session(), options, show);

  const auto start = Clock::now();
  sampler.forget();
  sampler.see(prompt);
  const std::span<const float> logits = read_prompt(prompt, reuse);
  writing.made.prefill_seconds = seconds_since(start);

  const auto decode_start = Clock::now();
  if (writing.open()) {
    const std::int32_t token = sampler.pick(logits);
    sampler.see(token);
    writing.take(token);
  }
  if (draft_ != nullptr) {
    Speculation speculation(target_, *draft_, sampler, writing.ends());
    write_with_draft(speculation, target_, options.draft_tokens, prompt, writing);
  } else {
    write_alone(target_, sampler, writing);
  }
  writing.made.decode_seconds = seconds_since(decode_start);
  writing.finish();
  target_.session().check_unchanged();
  if (draft_ != nullptr) draft_->session().check_unchanged();
  return std::move(writing.made);
}

}  // namespace espalier::runtime
