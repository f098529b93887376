// SPDX-License-Identifier: Apache-2.0
// Keys and names by which tokens end a text.
#include "text/end_tokens.h"

#include <algorithm>
#include <array>
#include <map>
#include <optional>

namespace espalier::text {
namespace {

constexpr const char* kEndKeys[] = {
    "tokenizer.ggml.eos_token_id",     "tokenizer.ggml.eot_token_id",
    "tokenizer.ggml.eom_token_id",     "tokenizer.ggml.fim_pad_token_id",
    "tokenizer.ggml.fim_rep_token_id", "tokenizer.ggml.fim_sep_token_id"};

// Sorted.
constexpr std::string_view kEndNames[] = {
    "</s>",
    "<EOT>",
    "<PAD>",
    "<REPO>",
    "<end_of_turn>",
    "<end_of_utterance>",
    "<eos>",
    "<fim-pad>",
    "<fim-repo>",
    "<fim_pad>",
    "<reponame>",
    "<turn|>",
    "<|calls|>",
    "<|call|>",
    "<|end_of_text|>",
    "<|end_of_turn|>",
    "<|endoftext|>",
    "<|end|>",
    "<|eom_id|>",
    "<|eot_id|>",
    "<|file_sep|>",
    "<|fim_pad|>",
    "<|fim_repo|>",
    "<|flush|>",
    "<|im_end|>",
    "<|repo_name|>",
    "<|return|>",
    "<|tool_response>",
    "<\xEF\xBD\x9C"
    "end\xE2\x96\x81of\xE2\x96\x81sentence\xEF\xBD\x9C>",  // with U+FF5C and U+2581
    "[EOS]",
    "[EOT]",
    "[PAD]",
    "[e~[",
    "_<EOT>",
};
static_assert(std::is_sorted(std::begin(kEndNames), std::end(kEndNames)));

// A token that is no end where the vocabulary has these others, which end its texts instead.
struct NoEnd {
  std::string_view name;
  std::array<std::string_view, 2> others;
};
constexpr NoEnd kNoEnds[] = {{"<|end|>", {"<|return|>", "<|call|>"}},
                             {"<|end|>", {"<|call|>", "<|flush|>"}},
                             {"<|end|>", {"<|calls|>", "<|flush|>"}},
                             {"</s>", {"<|tool_response>", "<|tool_response>"}}};

}  // namespace

bool names_an_end(std::string_view token) {
  return std::binary_search(std::begin(kEndNames), std::end(kEndNames), token);
}

std::span<const char* const> end_keys() { return kEndKeys; }

std::optional<std::int64_t> stated_id(const format::GgufHeader& header, const std::string& key) {
  const std::optional<std::int64_t> id = header.optional_integer(key);
  const bool none = id && (*id == -1 || *id == std::int64_t{0xFFFFFFFF});
  return none ? std::nullopt : id;
}

std::set<std::int32_t> end_tokens(const Tokenizer& tokenizer, const format::GgufHeader& header) {
  const auto n = static_cast<std::int32_t>(tokenizer.vocab_size());
  std::map<std::string_view, std::int32_t> named;
  for (std::int32_t id = 0; id < n; ++id)
    if (const std::string_view token = tokenizer.token(id); names_an_end(token))
      named.emplace(token, id);
  std::set<std::int32_t> out;
  for (const auto& [name, id] : named) out.insert(id);
  for (const NoEnd& e : kNoEnds)
    if (named.contains(e.name) && named.contains(e.others[0]) && named.contains(e.others[1]))
      out.erase(named.at(e.name));
  for (const char* key : kEndKeys)  // in range, which tokenizer_from_gguf() has checked
    if (const auto id = stated_id(header, key)) out.insert(static_cast<std::int32_t>(*id));
  return out;
}

}  // namespace espalier::text
