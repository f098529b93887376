// SPDX-License-Identifier: Apache-2.0
// Tokenizers: byte-level BPE (GPT-2 style), SPM (SentencePiece BPE over scores with byte fallback,
// as Llama 2 and Gemma have it) and unigram (SentencePiece's other model, as T5 has it), and the
// data they are made of, which travels through every stage and into GGUF and Hugging Face
// directories.
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "format/gguf.h"

namespace espalier::text {

enum class TokenizerKind : std::uint8_t { byte_bpe, spm, unigram };
const char* name_of(TokenizerKind kind);
// Numbers of GGUF's tokenizer.ggml.token_type.
enum class TokenType : std::int32_t {
  normal = 1,
  unknown = 2,
  control = 3,
  user_defined = 4,
  unused = 5,
  byte = 6
};

// How an spm tokenizer with add_space_prefix puts the space in front of text.
enum class SpaceRule : std::uint8_t {
  every_segment,     // before the text and behind every added token not looked for after
                     // normalization, always (llama.cpp's only one)
  metaspace_always,  // the same, unless there is a space already
  metaspace_first,   // before the text only, unless there is a space already
};
// What an added token does besides being found: only those that do something are listed.
struct AddedRule {
  std::int32_t id = 0;
  bool lstrip = false, rstrip = false;  // takes the white space before / behind it along
  bool normalized = false;              // is looked for after normalization, and normalized itself
  bool bare = false;  // normalized, but no space is put in front of its text (SentencePiece's
                      // user-defined pieces)
  bool operator==(const AddedRule&) const = default;
};

// What a tokenizer does besides its vocabulary.
struct TokenizerSettings {
  TokenizerKind kind = TokenizerKind::byte_bpe;
  std::string pre;  // GGUF tokenizer.ggml.pre: smollm gpt-2 llama-bpe qwen2 tekken default ...
  std::optional<std::int32_t> bos, eos, unk, pad;
  bool add_bos = false, add_eos = false;
  bool add_space_prefix = true;  // spm and unigram
  bool remove_extra_spaces =
      false;  // unigram: spaces at both ends go, and of several in a row all but one
  SpaceRule space_rule = SpaceRule::every_segment;
  bool nfc = false;            // byte_bpe: text is composed (NFC) first; `pre` says so for a GGUF
  bool ignore_merges = false;  // a whole word that is a token is taken without merging (Llama 3)
  std::vector<AddedRule> rules;
  std::string chat_template;  // Jinja source; empty = none
};

// Everything a tokenizer is, independent of the file it came from. Sizes: tokens, types (and scores
// but for byte_bpe) have vocab entries.
struct TokenizerData : TokenizerSettings {
  std::vector<std::string> tokens;  // byte_bpe: in the printable GPT-2 byte alphabet; others: UTF-8
                                    // with U+2581 for space
  std::vector<TokenType> types;
  std::vector<float> scores;        // spm and unigram
  std::vector<std::string> merges;  // byte_bpe only: "left right", best first
  std::string charsmap;  // unigram: the compiled character map (charsmap.h) text goes through
                         // first; empty = none
  // The original files when they came from a Hugging Face directory, written back unchanged as long
  // as the tokens and merges above are those of tokenizer.json or tokenizer.model (unused tokens at
  // the end aside); otherwise new files are made.
  std::string hf_tokenizer_json;
  std::string hf_tokenizer_model;  // bytes; only when there was no tokenizer.json
  std::string hf_tokenizer_config;
  std::string hf_special_tokens_map;
};

// Throws Error(input | unsupported) naming `where` and the place unless the data make a tokenizer:
// sizes agree, ids are in range, tokens are distinct and valid UTF-8, merges lead to tokens, an spm
// vocabulary has its 256 byte tokens, a unigram one has all of them or none. The readers below have
// checked.
void check_tokenizer(const TokenizerData& data, const std::string& where);
// Adds unused tokens until there are `n` (embedding tables are often longer than the vocabulary);
// refuses when there are more already.
void pad_vocabulary(TokenizerData& data, std::int64_t n);

// GGUF metadata <-> data. What GGUF has no key for (rules, a normalization its `pre` does not
// imply) travels under espalier.tokenizer.*. Refuses (Error input/unsupported) unknown models and
// pre-tokenizers, sizes that do not match, ids out of range.
TokenizerData tokenizer_from_gguf(const format::GgufHeader& header);
void tokenizer_to_gguf(const TokenizerData& data, format::GgufWriter& writer);
// Hugging Face directory <-> data: tokenizer.json (+ tokenizer_config.json,
// special_tokens_map.json, chat_template.jinja) is read; the pre-tokenizer is recognised by its
// structure and regex, and refused by name when none of ours matches. Without tokenizer.json, a
// SentencePiece tokenizer.model (BPE with byte fallback and no normalization, or unigram) is read
// with what the other files add to it; its ids are then libsentencepiece's. Writing makes files
// that AutoTokenizer loads, from scratch when the data came from GGUF (unigram: the tokenizer.model
// that sentencepiece reads).
TokenizerData tokenizer_from_hf(const std::string& directory);
bool hf_directory_has_tokenizer(const std::string& directory);
void tokenizer_to_hf(const TokenizerData& data, const std::string& directory);
// Identity used to refuse teacher/student pairs that do not share a vocabulary: equal kind, tokens,
// types, merges, scores, pre (by any of its names).
bool same_vocabulary(const TokenizerData& a, const TokenizerData& b);

// Immutable and thread-safe after construction. Keeps a vocabulary of its own, a fraction of the
// data's size.
class Tokenizer {
 public:
  explicit Tokenizer(const TokenizerData& data);
  ~Tokenizer();
  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;

  const TokenizerSettings& settings() const;
  std::int64_t vocab_size() const;
  std::string_view token(
      std::int32_t id) const;  // as TokenizerData has it; Error(input) outside the vocabulary
  TokenType type(std::int32_t id) const;  // the same
  // Ids of `text`, equal to the Hugging Face tokenizer's. Broken UTF-8 is replaced by U+FFFD per
  // maximal invalid part (as Python's errors="replace"). parse_special: control and user-defined
  // tokens written out in the text become their ids; otherwise only user_defined ones do. add_bos:
  // prepend BOS / append EOS when the model's flags say so.
  std::vector<std::int32_t> encode(std::string_view text, bool add_special = true,
                                   bool parse_special = false) const;
  // Valid UTF-8: bytes that are none (the end of a piece of text, say) become U+FFFD. skip_special
  // leaves out control and unknown tokens.
  std::string decode(const std::vector<std::int32_t>& ids, bool skip_special = false) const;
  // Bytes of one token (special tokens give their text). Pieces can hold partial UTF-8.
  std::string piece(std::int32_t id) const;

  // Whether both read and write the same ids: same_vocabulary(), where of scores only what follows
  // from them counts.
  bool same_vocabulary(const Tokenizer& other) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace espalier::text
