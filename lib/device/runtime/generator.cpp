// SPDX-License-Identifier: Apache-2.0
// The generation loop, with and without a draft model.
#include "runtime/generator.h"

#include <algorithm>
#include <array>
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

}  // namespace

std::set<std::int32_t> end_tokens(const text::Tokenizer& tokenizer) {
  constexpr std::array<std::string_view, 9> kEnds = {
      "<|im_end|>",    "<|eot_id|>", "<|eom_id|>",      "<|endoftext|>", "<|end_of_text|>",
      "<end_of_turn>", "<|end|>",    "<|end_of_turn|>", "</s>"};
  std::set<std::int32_t> out;
  if (tokenizer.settings().eos) out.insert(*tokenizer.settings().eos);
  for (std::int32_t id = 0; id < tokenizer.vocab_size(); ++id)
    if (tokenizer.type(id) == text::TokenType::control &&
        std::find(kEnds.begin(), kEnds.end(), tokenizer.token(id)) != kEnds.end())
      out.insert(id);
  return out;
}

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

Generated Generator::run(std::span<const std::int32_t> prompt, Sampler& sampler,
                         const GenerateOptions& options, const Show& show, bool reuse) {
  ESP_CHECK(draft_ == nullptr || options.draft_tokens >= 1, usage, "--draft-tokens ",
            options.draft_tokens, ": expected 1 or more");
  const text::Tokenizer& tokenizer = target_.session().tokenizer();
  const std::set<std::int32_t> ends = end_tokens(tokenizer);
  TextStream stream(options.stops);
  Generated out;
  const auto emit = [&](const std::string& text) {
    out.text += text;
    return !show || text.empty() || show(text);
  };
  const auto take = [&](std::int32_t token) {
    if (ends.contains(token)) {
      out.end = Generated::End::end_token;
      return false;
    }
    out.tokens.push_back(token);
    const bool wanted = emit(stream.push(tokenizer.piece(token)));
    out.end = !wanted            ? Generated::End::caller
              : stream.stopped() ? Generated::End::stop_string
                                 : Generated::End::limit;
    return wanted && !stream.stopped() &&
           static_cast<std::int64_t>(out.tokens.size()) < options.tokens;
  };

  const auto start = Clock::now();
  if (!reuse) target_.reset();
  if (!reuse && draft_ != nullptr) draft_->reset();
  sampler.forget();
  sampler.see(prompt);
  std::span<const float> logits = target_.read_all(prompt);
  if (draft_ != nullptr) {
    draft_->keep_common(prompt);
    if (static_cast<std::int64_t>(prompt.size()) <= draft_->session().context())
      draft_->read_all(prompt);
  }
  out.prefill_seconds = seconds_since(start);

  const auto decode_start = Clock::now();
  bool open = options.tokens > 0;
  const auto pick = [&] {
    const std::int32_t token = sampler.pick(logits);
    sampler.see(token);
    open = take(token);
  };
  if (open) pick();
  if (draft_ != nullptr) {
    Speculation speculation;
    std::vector<std::int32_t> text(prompt.begin(), prompt.end());
    while (open && target_.room() > 0) {
      text.insert(text.end(),
                  out.tokens.begin() + static_cast<std::ptrdiff_t>(text.size() - prompt.size()),
                  out.tokens.end());
      const std::int64_t left = options.tokens - static_cast<std::int64_t>(out.tokens.size());
      const SpeculativeRound round = speculation.round(
          target_, *draft_, sampler, text, std::min(options.draft_tokens, left - 1), ends,
          [&](std::int32_t token) { return open = take(token); });
      out.drafted += round.drafted;
      out.judged += round.judged;
      out.accepted += round.accepted;
      ++out.passes;
    }
  } else {
    while (open && target_.room() > 0) {
      logits = target_.read({&out.tokens.back(), 1});
      pick();
    }
  }
  if (open) out.end = Generated::End::context;
  out.decode_seconds = seconds_since(decode_start);
  if (out.end != Generated::End::caller) emit(stream.finish());
  target_.session().check_unchanged();
  if (draft_ != nullptr) draft_->session().check_unchanged();
  return out;
}

}  // namespace espalier::runtime
