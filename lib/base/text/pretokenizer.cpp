// SPDX-License-Identifier: Apache-2.0
// The PCRE2 programs of the pre-tokenizers, and the stages that run them.
#include "text/pretokenizer.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>
#include <array>
#include <cstdint>

#include "core/error.h"
#include "text/unicode_classes.h"

namespace espalier::text {
namespace {

std::string pcre_message(int code) {
  std::array<PCRE2_UCHAR, 256> buffer{};
  pcre2_get_error_message(code, buffer.data(), buffer.size());
  return std::string(buffer.begin(), std::find(buffer.begin(), buffer.end(), PCRE2_UCHAR{0}));
}

}  // namespace

struct PreTokenizer::Stage {
  struct FreeCode {
    void operator()(pcre2_code* code) const { pcre2_code_free(code); }
  };
  std::unique_ptr<pcre2_code, FreeCode> code;

  explicit Stage(const std::string& pattern) {
    int error = 0;
    PCRE2_SIZE offset = 0;
    code.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                             PCRE2_UTF | PCRE2_UCP, &error, &offset, nullptr));
    ESP_CHECK(code != nullptr, internal, "pre-tokenizer regular expression at byte ", offset, ": ",
              pcre_message(error));
    // Without JIT on this machine, matching is interpreted.
    pcre2_jit_compile(code.get(), PCRE2_JIT_COMPLETE);
  }
};

PreTokenizer::PreTokenizer(const PreSpec& spec) {
  if (spec.splits_digits) stages_.emplace_back(digit_class());
  stages_.emplace_back(
      spell_classes(spec.hf_pattern.empty() ? kGpt2Pattern : std::string_view(spec.hf_pattern)));
}
PreTokenizer::~PreTokenizer() = default;
PreTokenizer::PreTokenizer(PreTokenizer&&) noexcept = default;
PreTokenizer& PreTokenizer::operator=(PreTokenizer&&) noexcept = default;

struct PreTokenizer::Scratch {
  struct Free {
    void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
    void operator()(pcre2_match_context* context) const { pcre2_match_context_free(context); }
  };
  std::unique_ptr<pcre2_match_data, Free> data{pcre2_match_data_create(1, nullptr)};
  std::unique_ptr<pcre2_match_context, Free> context{pcre2_match_context_create(nullptr)};
};

void PreTokenizer::split(std::string_view text,
                         const std::function<void(std::string_view)>& word) const {
  Scratch scratch;
  ESP_CHECK(scratch.data != nullptr && scratch.context != nullptr, input,
            "out of memory while splitting text into words");
  // A run of white space is walked back at most once per alternative, so a few steps per byte
  // suffice.
  pcre2_set_match_limit(scratch.context.get(), static_cast<std::uint32_t>(std::min<std::size_t>(
                                                   10000 + 16 * text.size(), 0xFFFFFFFFu)));
  run(0, text, scratch, word);
}

void PreTokenizer::run(std::size_t stage, std::string_view text, Scratch& scratch,
                       const std::function<void(std::string_view)>& word) const {
  if (stage == stages_.size()) {
    word(text);
    return;
  }
  const pcre2_code* code = stages_[stage].code.get();
  const auto* subject = reinterpret_cast<PCRE2_SPTR>(text.data());
  std::size_t position = 0;
  while (position < text.size()) {
    std::uint32_t options = PCRE2_NO_UTF_CHECK;
    int result = pcre2_match(code, subject, text.size(), position, options, scratch.data.get(),
                             scratch.context.get());
    if (result == PCRE2_ERROR_JIT_STACKLIMIT) {
      options |= PCRE2_NO_JIT;
      result = pcre2_match(code, subject, text.size(), position, options, scratch.data.get(),
                           scratch.context.get());
    }
    if (result == PCRE2_ERROR_NOMATCH) break;
    ESP_CHECK(result >= 0, input, "cannot split text into words at byte ", position, " of ",
              text.size(), ": ", pcre_message(result));
    const PCRE2_SIZE* bounds = pcre2_get_ovector_pointer(scratch.data.get());
    const std::size_t start = bounds[0], end = bounds[1];
    ESP_CHECK(end > start, internal, "a pre-tokenizer regular expression matched nothing at byte ",
              position);
    if (start > position) run(stage + 1, text.substr(position, start - position), scratch, word);
    run(stage + 1, text.substr(start, end - start), scratch, word);
    position = end;
  }
  if (position < text.size()) run(stage + 1, text.substr(position), scratch, word);
}

}  // namespace espalier::text
