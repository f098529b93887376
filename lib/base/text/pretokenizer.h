// SPDX-License-Identifier: Apache-2.0
// Pre-tokenizers of byte-level BPE: how a text is cut into words before merging. Each is a short
// list of regular expressions that are applied in turn. A stage cuts every piece of the previous
// stage into its matches and the text between them.
//
// Regular expressions run in PCRE2 with Unicode classes, compiled to machine code where PCRE2 can.
// The match limit is proportional to the text, so no input makes them hang.
#pragma once
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace espalier::text {

// The words of GPT-2. ByteLevel in tokenizer.json cuts them itself when its use_regex is set.
inline constexpr std::string_view kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

// The pre-tokenizer that a name in GGUF's tokenizer.ggml.pre stands for.
struct PreSpec {
  std::string name;    // canonical name
  bool nfc;            // the text is composed (NFC) first
  bool ignore_merges;  // a word that is a token is not merged but taken whole
  bool add_bos;        // whether BOS is added when the file does not say
  bool splits_digits;  // an earlier stage cuts out each digit
  // The pattern of tokenizer.json's Split, followed by ByteLevel without regex. Empty: ByteLevel's
  // own (GPT-2) regex.
  std::string hf_pattern;
};
// The entry of a name or of one of its aliases. nullptr when the name is unknown.
const PreSpec* find_pre_spec(std::string_view name);
const std::vector<PreSpec>& pre_specs();
// The entry with the Split pattern of a tokenizer.json. Among several, the entry that agrees with
// the model's ignore_merges. nullptr when unknown.
const PreSpec* find_pre_spec_by_pattern(std::string_view pattern, bool ignore_merges);
// All names for messages: "gpt-2, smollm, ...".
std::string known_pre_names();

class PreTokenizer {
 public:
  explicit PreTokenizer(const PreSpec& spec);
  ~PreTokenizer();
  PreTokenizer(PreTokenizer&&) noexcept;
  PreTokenizer& operator=(PreTokenizer&&) noexcept;
  // Calls `word` for each word in order. The words together are the whole text. Valid UTF-8 only.
  // Thread-safe.
  void split(std::string_view text, const std::function<void(std::string_view)>& word) const;

 private:
  struct Stage;
  struct Scratch;
  void run(std::size_t stage, std::string_view text, Scratch& scratch,
           const std::function<void(std::string_view)>& word) const;
  std::vector<Stage> stages_;
};

}  // namespace espalier::text
