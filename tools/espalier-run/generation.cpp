#include "generation.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <utility>

namespace espalier::tool {
namespace {

// Bytes the character that starts with `lead` has; 1 for bytes that start none.
std::size_t character_length(unsigned char lead) {
  if (lead >= 0xC2 && lead <= 0xDF) return 2;
  if (lead >= 0xE0 && lead <= 0xEF) return 3;
  if (lead >= 0xF0 && lead <= 0xF4) return 4;
  return 1;
}

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

std::string Utf8Stream::push(std::string_view bytes) {
  held_ += bytes;
  // Only the last three bytes can belong to a character that is not complete.
  std::size_t ready = held_.size();
  for (std::size_t back = 1; back <= std::min<std::size_t>(3, held_.size()); ++back) {
    const unsigned char c = static_cast<unsigned char>(held_[held_.size() - back]);
    if ((c & 0xC0) == 0x80) continue;
    if (character_length(c) > back) ready = held_.size() - back;
    break;
  }
  std::string out = held_.substr(0, ready);
  held_.erase(0, ready);
  return out;
}

std::string Utf8Stream::finish() { return std::exchange(held_, {}); }

std::set<std::int32_t> end_tokens(const text::Tokenizer& tokenizer) {
  constexpr std::array<std::string_view, 5> kEnds = {"<|im_end|>", "<|eot_id|>", "<|endoftext|>", "<|end_of_text|>", "</s>"};
  const text::TokenizerData& data = tokenizer.data();
  std::set<std::int32_t> out;
  if (data.eos) out.insert(*data.eos);
  for (std::size_t i = 0; i < data.tokens.size(); ++i)
    if (data.types[i] == text::TokenType::control && std::find(kEnds.begin(), kEnds.end(), data.tokens[i]) != kEnds.end())
      out.insert(static_cast<std::int32_t>(i));
  return out;
}

Generated generate(runtime::Session& session, runtime::Sampler& sampler, const std::vector<std::int32_t>& prompt, std::int64_t limit,
                   const std::function<void(std::string_view)>& show) {
  const text::Tokenizer& tokenizer = session.tokenizer();
  const std::set<std::int32_t> ends = end_tokens(tokenizer);
  Generated out;
  Utf8Stream stream;
  const auto emit = [&](const std::string& text) {
    out.text += text;
    if (show && !text.empty()) show(text);
  };

  const auto start = std::chrono::steady_clock::now();
  std::span<const float> logits = session.prefill(prompt);
  out.prefill_seconds = seconds_since(start);
  const auto decode_start = std::chrono::steady_clock::now();
  while (static_cast<std::int64_t>(out.tokens.size()) < limit && !logits.empty()) {
    const std::int32_t token = sampler.pick(logits);
    if (ends.contains(token)) {
      out.ended = true;
      break;
    }
    out.tokens.push_back(token);
    emit(stream.push(tokenizer.piece(token)));
    if (static_cast<std::int64_t>(out.tokens.size()) < limit) logits = session.decode_step(token);
  }
  out.decode_seconds = seconds_since(decode_start);
  emit(stream.finish());
  return out;
}

}  // namespace espalier::tool
