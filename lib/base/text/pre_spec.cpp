// SPDX-License-Identifier: Apache-2.0
// The table of pre-tokenizers. The patterns are those of tokenizer.json files. The comments name
// the models that use them.
#include <array>

#include "text/pretokenizer.h"

namespace espalier::text {
namespace {

// Llama 3, SmolLM3, and newer Mistral models that keep three digits together.
const char* const kLlama3 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
// Qwen 2, 2.5 and 3.
const char* const kQwen2 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
// Qwen 3.5: marks belong to words.
const char* const kQwen35 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
// Mistral-NeMo and its Minitron: a new word begins where upper case follows lower case.
const char* const kTekken =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+)"
    R"(|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*)"
    R"(|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
// Phi-4-mini: the same, with contractions and groups of three digits.
const char* const kGpt4o =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?)"
    R"(|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?)"
    R"(|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

struct Alias {
  const char *name, *canonical;
};
constexpr std::array kAliases = {Alias{"phi-2", "gpt-2"},        Alias{"llama3", "llama-bpe"},
                                 Alias{"llama-v3", "llama-bpe"}, Alias{"dbrx", "smaug-bpe"},
                                 Alias{"megrez", "qwen2"},       Alias{"llama4", "gpt-4o"},
                                 Alias{"refact", "smollm"}};

}  // namespace

const std::vector<PreSpec>& pre_specs() {
  // clang-format off
  static const std::vector<PreSpec> specs = {
      //name         nfc    whole  bos    digits  pattern
      {"gpt-2",      false, false, false, false,  ""},
      {"olmo",       true,  false, false, false,  ""},        // GPT-NeoX
      {"smollm",     false, false, false, true,   ""},
      {"llama-bpe",  false, true,  true,  false,  kLlama3},
      {"smaug-bpe",  false, false, false, false,  kLlama3},
      {"qwen2",      true,  false, false, false,  kQwen2},
      {"qwen35",     true,  false, false, false,  kQwen35},
      {"tekken",     false, true,  true,  false,  kTekken},
      {"gpt-4o",     false, false, false, false,  kGpt4o},
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

const PreSpec* find_pre_spec_by_pattern(std::string_view pattern, bool ignore_merges) {
  const PreSpec* found = nullptr;
  for (const PreSpec& spec : pre_specs()) {
    const bool same = spec.hf_pattern.empty()
                          ? pattern == kGpt2Pattern && !spec.nfc && !spec.splits_digits
                          : pattern == spec.hf_pattern;
    if (same && (found == nullptr || spec.ignore_merges == ignore_merges)) found = &spec;
  }
  return found;
}

std::string known_pre_names() {
  std::string names;
  for (const PreSpec& spec : pre_specs()) names += (names.empty() ? "" : ", ") + spec.name;
  return names;
}

}  // namespace espalier::text
