// SPDX-License-Identifier: Apache-2.0
// Tokenizers and their data. There are three kinds: byte-level BPE (GPT-2 style), SPM
// (SentencePiece BPE over scores with byte fallback, as in Llama 2 and Gemma), and unigram
// (SentencePiece's other model, as in T5).
//
// The data travels through every stage, and into GGUF files and Hugging Face directories.
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "format/gguf.h"

namespace espalier::text {

enum class TokenizerKind : std::uint8_t { byte_bpe, spm, unigram };
const char* name_of(TokenizerKind kind);
// The numbers of GGUF's tokenizer.ggml.token_type.
enum class TokenType : std::int32_t {
  normal = 1,
  unknown = 2,
  control = 3,
  user_defined = 4,
  unused = 5,
  byte = 6
};

// Where an spm tokenizer with add_space_prefix adds a space.
enum class SpaceRule : std::uint8_t {
  // Before the text, and after every added token that is searched for before normalization. Always,
  // even if there is a space. This is llama.cpp's only rule.
  every_segment,
  // At the same places, unless there is a space already.
  metaspace_always,
  // Before the text only, unless there is a space already.
  metaspace_first,
};
// What an added token does besides being found. Tokens that do nothing else are not listed.
struct AddedRule {
  std::int32_t id = 0;
  bool lstrip = false, rstrip = false;  // the match includes white space before / after it
  bool normalized = false;  // the token is normalized, and searched for after normalization
  // Like `normalized`, but no space is put in front of its text (SentencePiece's user-defined
  // pieces).
  bool bare = false;
  bool operator==(const AddedRule&) const = default;
};

// The behaviour of a tokenizer besides its vocabulary.
struct TokenizerSettings {
  TokenizerKind kind = TokenizerKind::byte_bpe;
  std::string pre;  // GGUF tokenizer.ggml.pre: smollm gpt-2 llama-bpe qwen2 tekken default ...
  std::optional<std::int32_t> bos, eos, unk, pad;
  bool add_bos = false, add_eos = false;
  bool add_space_prefix = true;  // spm and unigram
  // unigram: removes spaces at both ends, and all but one of several in a row.
  bool remove_extra_spaces = false;
  SpaceRule space_rule = SpaceRule::every_segment;
  bool nfc = false;  // byte_bpe: the text is composed (NFC) first; in a GGUF, `pre` implies it
  bool ignore_merges = false;  // a whole word that is a token is taken without merging (Llama 3)
  std::vector<AddedRule> rules;
  std::string chat_template;  // Jinja source; empty = none
};

// Names and Jinja sources of chat templates besides the default one.
using NamedTemplates = std::vector<std::pair<std::string, std::string>>;

// Everything that a tokenizer is, independent of the file it came from. tokens and types have one
// entry per id, and so have scores, except for byte_bpe.
struct TokenizerData : TokenizerSettings {
  // byte_bpe: in the printable GPT-2 byte alphabet. Others: UTF-8 with U+2581 for space.
  std::vector<std::string> tokens;
  std::vector<TokenType> types;
  std::vector<float> scores;        // spm and unigram
  std::vector<std::string> merges;  // byte_bpe only: "left right", best first
  // unigram: the compiled character map (charsmap.h) that a text goes through first. Empty: none.
  std::string charsmap;
  // The original files when the data came from a Hugging Face directory. They are written back
  // unchanged as long as the tokens and merges above equal those of tokenizer.json or
  // tokenizer.model. Unused tokens at the end do not count. Otherwise new files are made.
  std::string hf_tokenizer_json;
  std::string hf_tokenizer_model;  // the file's bytes; only when there was no tokenizer.json
  std::string hf_tokenizer_config;
  std::string hf_special_tokens_map;
  NamedTemplates hf_named_templates;  // of additional_chat_templates/, or of a GGUF
};

// Checks that the data make a tokenizer. Sizes agree, ids are in range, tokens are distinct and
// valid UTF-8, and merges lead to tokens. An spm vocabulary has its 256 byte tokens. A unigram
// vocabulary has all of them or none. Throws Error(input | unsupported) naming `where` and the
// place. The readers below call it.
void check_tokenizer(const TokenizerData& data, const std::string& where);
// Adds unused tokens until there are `n`, because embedding tables are often longer than the
// vocabulary. Refuses when there are more than `n` already.
void pad_vocabulary(TokenizerData& data, std::int64_t n);

// Converts between GGUF metadata and data. What GGUF has no key for (rules, a normalization that
// `pre` does not imply) is stored under espalier.tokenizer.*. Throws Error(input | unsupported) for
// unknown models and pre-tokenizers, sizes that do not match, and ids out of range.
TokenizerData tokenizer_from_gguf(const format::GgufHeader& header);
// The pre-tokenizer of every file that has byte-level BPE and does not name one. Error(usage) for
// an unknown name, and later for a file that names another. To be called before files are read.
void assume_pre(const std::string& name);
void tokenizer_to_gguf(const TokenizerData& data, format::GgufWriter& writer);
// Converts between a Hugging Face directory and data. Reading takes tokenizer.json,
// tokenizer_config.json, special_tokens_map.json and chat_template.jinja. The pre-tokenizer is
// recognised by its structure and regex. An unknown one is refused by name.
//
// Without tokenizer.json, a SentencePiece tokenizer.model is read (BPE with byte fallback and no
// normalization, or unigram), with the additions of the other files. Its ids are then those of
// libsentencepiece. Without both, vocab.json and merges.txt are read when the tokenizer_class is a
// known one, and otherwise Mistral's tekken.json. A file that is there but empty or not readable is
// refused.
//
// Writing makes files that AutoTokenizer loads. When the data came from another kind of file they
// are made from scratch (unigram: a tokenizer.model that sentencepiece reads).
TokenizerData tokenizer_from_hf(const std::string& directory);
bool hf_directory_has_tokenizer(const std::string& directory);
// Names of the files that tokenizer_from_hf() reads of this directory, besides
// tokenizer_config.json and the other small ones that transformers reads beside every tokenizer.
std::vector<std::string> hf_vocabulary_files(const std::string& directory);
// For messages about a model without a tokenizer: what was looked for, and which files of
// tokenizers that are not supported are in the directory.
std::string no_tokenizer_reason(const std::string& path);
void tokenizer_to_hf(const TokenizerData& data, const std::string& directory);
// Whether two tokenizers share a vocabulary: equal kind, tokens, types, merges, scores and pre
// (under any of its names). Teacher/student pairs that do not are refused.
bool same_vocabulary(const TokenizerData& a, const TokenizerData& b);

// Encodes and decodes text. Immutable and thread-safe after construction. It keeps its own
// vocabulary, which takes a fraction of the data's size.
class Tokenizer {
 public:
  explicit Tokenizer(const TokenizerData& data);
  ~Tokenizer();
  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;

  const TokenizerSettings& settings() const;
  std::int64_t vocab_size() const;
  // The text as in TokenizerData. Error(input) outside the vocabulary.
  std::string_view token(std::int32_t id) const;
  // Error(input) outside the vocabulary.
  TokenType type(std::int32_t id) const;
  // The ids of `text`, equal to those of the Hugging Face tokenizer. Each maximal part of broken
  // UTF-8 becomes U+FFFD (as Python's errors="replace"). add_special: prepend BOS / append EOS when
  // the model's flags say so. parse_special: control and user-defined tokens written out in the
  // text become their ids. Otherwise only user_defined tokens do.
  std::vector<std::int32_t> encode(std::string_view text, bool add_special = true,
                                   bool parse_special = false) const;
  // Always valid UTF-8: bytes that are not (such as at the end of a piece of text) become U+FFFD.
  // skip_special leaves out control and unknown tokens.
  std::string decode(const std::vector<std::int32_t>& ids, bool skip_special = false) const;
  // The bytes of one token. Special tokens give their text. A piece can hold partial UTF-8.
  std::string piece(std::int32_t id) const;

  // Whether both read and write the same ids. Like the free same_vocabulary(), but of the scores
  // only what follows from them counts.
  bool same_vocabulary(const Tokenizer& other) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace espalier::text
