// SPDX-License-Identifier: Apache-2.0
// Pre-tokenizers of byte-level BPE: how text is cut into words before merging. Each is a short list
// of regular expressions applied one after another: a stage cuts every piece of the stage before
// into its matches and what lies between them.
//
// Regular expressions run in PCRE2 with Unicode classes, compiled to machine code where PCRE2 can,
// under a match limit proportional to the text: no input makes them hang.
#pragma once
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace espalier::text {

// GPT-2's words, which tokenizer.json's ByteLevel cuts by itself when it is told to use its regex.
inline constexpr std::string_view kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

// What a name in GGUF's tokenizer.ggml.pre stands for.
struct PreSpec {
  std::string name;        // canonical
  bool nfc;                // text is composed (NFC) first
  bool ignore_merges;      // a word that is a token is taken whole
  bool add_bos;            // when the file does not say
  bool splits_digits;      // a stage before the main one cuts out each digit
  std::string hf_pattern;  // of tokenizer.json's Split, followed by ByteLevel without regex; empty:
                           // ByteLevel's own (GPT-2) regex
};
// nullptr when the name is unknown. Aliases resolve to the canonical entry.
const PreSpec* find_pre_spec(std::string_view name);
const std::vector<PreSpec>& pre_specs();
// The entry of a tokenizer.json's Split pattern; of several, the one that agrees with the model's
// ignore_merges. nullptr when unknown.
const PreSpec* find_pre_spec_by_pattern(std::string_view pattern, bool ignore_merges);
// Names for messages: "gpt-2, smollm, ...".
std::string known_pre_names();

class PreTokenizer {
 public:
  explicit PreTokenizer(const PreSpec& spec);
  ~PreTokenizer();
  PreTokenizer(PreTokenizer&&) noexcept;
  PreTokenizer& operator=(PreTokenizer&&) noexcept;
  // Calls `word` for each word, in order; together they are the whole text. Valid UTF-8 only.
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
