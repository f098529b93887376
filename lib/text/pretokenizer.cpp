// The table of pre-tokenizers and their PCRE2 programs.
//
// The classes are spelled out so that they equal the Hugging Face tokenizers' (Unicode 16 letters and numbers, White_Space) whatever
// version of Unicode the PCRE2 at hand knows: \s alone would also take U+180E, and scripts newer than Unicode 14 would count as
// punctuation.
#include "text/pretokenizer.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>
#include <array>
#include <cstdint>

#include "core/error.h"

namespace espalier::text {
namespace {

// Insides of character classes.
const std::string kSpace = R"(\t-\r \x{85}\x{A0}\x{1680}\x{2000}-\x{200A}\x{2028}\x{2029}\x{202F}\x{205F}\x{3000})";
const std::string kLetter =
    R"(\p{L}\x{1C89}\x{1C8A}\x{A7CB}-\x{A7CD}\x{A7DA}-\x{A7DC}\x{105C0}-\x{105F3}\x{10D4A}-\x{10D65}\x{10D6F}-\x{10D85})"
    R"(\x{10EC2}-\x{10EC4}\x{1123F}\x{11240}\x{11380}-\x{11389}\x{1138B}\x{1138E}\x{11390}-\x{113B5}\x{113B7}\x{113D1}\x{113D3})"
    R"(\x{11BC0}-\x{11BE0}\x{11F02}\x{11F04}-\x{11F10}\x{11F12}-\x{11F33}\x{1342F}\x{13441}-\x{13446}\x{13460}-\x{143FA})"
    R"(\x{16100}-\x{1611D}\x{16D40}-\x{16D6C}\x{18CFF}\x{1B132}\x{1B155}\x{1DF25}-\x{1DF2A}\x{1E030}-\x{1E06D}\x{1E4D0}-\x{1E4EB})"
    R"(\x{1E5D0}-\x{1E5ED}\x{1E5F0}\x{2B739}\x{2EBF0}-\x{2EE5D}\x{31350}-\x{323AF})";
const std::string kNumber =
    R"(\p{N}\x{10D40}-\x{10D49}\x{116D0}-\x{116E3}\x{11BF0}-\x{11BF9}\x{11F50}-\x{11F59}\x{16130}-\x{16139}\x{16D70}-\x{16D79})"
    R"(\x{1CCF0}-\x{1CCF9}\x{1D2C0}-\x{1D2D3}\x{1E4F0}-\x{1E4F9}\x{1E5F1}-\x{1E5FA})";
// The separate digit splitter of tokenizer.json counts two blocks of Unicode 17 more.
const std::string kDigit = kNumber + R"(\x{11DE0}-\x{11DE9}\x{16FF4}-\x{16FF6})";

const std::string kGpt2Words = "'(?:s|t|re|ve|m|ll|d)| ?[" + kLetter + "]+| ?[" + kNumber + "]+| ?[^" + kSpace + kLetter + kNumber +
                               "]+|[" + kSpace + "]+(?![^" + kSpace + "])|[" + kSpace + "]+";

// Llama 3 and Qwen 2 differ in how many digits stay together.
std::string llama3_words(const std::string& digits) {
  return "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n" + kLetter + kNumber + "]?[" + kLetter + "]+|[" + kNumber + "]" + digits + "| ?[^" +
         kSpace + kLetter + kNumber + "]+[\\r\\n]*|[" + kSpace + "]*[\\r\\n]+|[" + kSpace + "]+(?![^" + kSpace + "])|[" + kSpace + "]+";
}

const char* const kLlama3Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
const char* const kQwen2Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

struct Alias {
  const char *name, *canonical;
};
constexpr std::array kAliases = {Alias{"phi-2", "gpt-2"}, Alias{"llama3", "llama-bpe"}, Alias{"llama-v3", "llama-bpe"}};

std::string pcre_message(int code) {
  std::array<PCRE2_UCHAR, 256> buffer{};
  pcre2_get_error_message(code, buffer.data(), buffer.size());
  return std::string(buffer.begin(), std::find(buffer.begin(), buffer.end(), PCRE2_UCHAR{0}));
}

}  // namespace

const std::vector<PreSpec>& pre_specs() {
  // clang-format off
  static const std::vector<PreSpec> specs = {
      //name         nfc    whole  bos    digits  pattern
      {"gpt-2",      false, false, false, false,  ""},
      {"olmo",       true,  false, false, false,  ""},
      {"smollm",     false, false, false, true,   ""},
      {"llama-bpe",  false, true,  true,  false,  kLlama3Pattern},
      {"qwen2",      true,  false, false, false,  kQwen2Pattern},
  };
  // clang-format on
  return specs;
}

const PreSpec* find_pre_spec(std::string_view name) {
  for (const Alias& alias : kAliases) {
    if (name == alias.name) name = alias.canonical;
  }
  for (const PreSpec& spec : pre_specs()) {
    if (name == spec.name) return &spec;
  }
  return nullptr;
}

std::string known_pre_names() {
  std::string names;
  for (const PreSpec& spec : pre_specs()) names += (names.empty() ? "" : ", ") + spec.name;
  return names;
}

struct PreTokenizer::Stage {
  struct FreeCode {
    void operator()(pcre2_code* code) const { pcre2_code_free(code); }
  };
  std::unique_ptr<pcre2_code, FreeCode> code;

  explicit Stage(const std::string& pattern) {
    int error = 0;
    PCRE2_SIZE offset = 0;
    code.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(), PCRE2_UTF | PCRE2_UCP, &error,
                             &offset, nullptr));
    ESP_CHECK(code != nullptr, internal, "pre-tokenizer regular expression at byte ", offset, ": ", pcre_message(error));
    pcre2_jit_compile(code.get(), PCRE2_JIT_COMPLETE);  // without it (no JIT on this machine) matching is interpreted
  }
};

PreTokenizer::PreTokenizer(const PreSpec& spec) {
  if (spec.splits_digits) stages_.emplace_back("[" + kDigit + "]");
  if (spec.hf_pattern.empty()) {
    stages_.emplace_back(kGpt2Words);
  } else {
    stages_.emplace_back(llama3_words(spec.hf_pattern == kLlama3Pattern ? "{1,3}" : ""));
  }
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

void PreTokenizer::split(std::string_view text, const std::function<void(std::string_view)>& word) const {
  Scratch scratch;
  ESP_CHECK(scratch.data != nullptr && scratch.context != nullptr, input, "out of memory while splitting text into words");
  // A run of white space is walked back at most once per alternative, so a few steps per byte are plenty.
  pcre2_set_match_limit(scratch.context.get(), static_cast<std::uint32_t>(std::min<std::size_t>(10000 + 16 * text.size(), 0xFFFFFFFFu)));
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
    int result = pcre2_match(code, subject, text.size(), position, options, scratch.data.get(), scratch.context.get());
    if (result == PCRE2_ERROR_JIT_STACKLIMIT) {
      options |= PCRE2_NO_JIT;
      result = pcre2_match(code, subject, text.size(), position, options, scratch.data.get(), scratch.context.get());
    }
    if (result == PCRE2_ERROR_NOMATCH) break;
    ESP_CHECK(result >= 0, input, "cannot split text into words at byte ", position, " of ", text.size(), ": ", pcre_message(result));
    const PCRE2_SIZE* bounds = pcre2_get_ovector_pointer(scratch.data.get());
    const std::size_t start = bounds[0], end = bounds[1];
    ESP_CHECK(end > start, internal, "a pre-tokenizer regular expression matched nothing at byte ", position);
    if (start > position) run(stage + 1, text.substr(position, start - position), scratch, word);
    run(stage + 1, text.substr(start, end - start), scratch, word);
    position = end;
  }
  if (position < text.size()) run(stage + 1, text.substr(position), scratch, word);
}

}  // namespace espalier::text
