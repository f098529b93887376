// SPDX-License-Identifier: Apache-2.0
// Any bytes as a tokenizer or as text. The first byte says what the rest is:
//   'j'  tokenizer.json, and behind a zero byte tokenizer_config.json      'g'  a GGUF file
//   'm'  tokenizer.model
//   'b'  text for a byte-level BPE tokenizer                              's'  text for an SPM tokenizer      'u'  for a unigram one
// Files are read or refused with an Error; what is read must encode and decode. Text must come back
// from its ids.
#include <cstdint>
#include <string>
#include <string_view>

#include "format/gguf.h"
#include "format/memory_file.h"
#include "fuzz/refusal.h"
#include "text/byte_alphabet.h"
#include "text/hf_files.h"
#include "text/tokenizer.h"
#include "text/utf8.h"
#include "text/vocabulary.h"

namespace {

using espalier::fuzz::require;
using namespace espalier::text;

void use(const TokenizerData& data) {
  const Tokenizer tokenizer(data);
  const auto ids = tokenizer.encode("It's 12 <s> a\xE2\x84\xAB \xFF\n\n  b", true, true);
  for (const std::int32_t id : ids) require(id >= 0 && id < tokenizer.vocab_size());
  require(is_valid_utf8(tokenizer.decode(ids, true)));
  const HfFiles files = build_hf(data);
  require(parse_hf(files).tokens == data.tokens);
}

void read_json_files(std::string_view bytes) {
  const std::size_t zero = bytes.find('\0');
  HfFiles files;
  files.directory = "fuzz";
  files.tokenizer_json = std::string(bytes.substr(0, zero));
  if (zero != std::string_view::npos) files.tokenizer_config = std::string(bytes.substr(zero + 1));
  use(parse_hf(files));
}

void read_gguf(std::string_view bytes) {
  static espalier::support::MemoryFile memory;
  memory.assign(bytes);
  use(tokenizer_from_gguf(
      espalier::format::GgufHeader::read(espalier::core::FileReader(memory.path()))));
}

void read_model(std::string_view bytes) {
  HfFiles files;
  files.directory = "fuzz";
  files.vocabulary = HfVocabulary::sentencepiece;
  files.tokenizer_model = std::string(bytes);
  use(parse_hf(files));
}

// Parts of the input, cut at its zero bytes; the last has the rest.
std::vector<std::string> parts_of(std::string_view bytes, std::size_t n) {
  std::vector<std::string> parts(n);
  for (std::size_t i = 0; i < n; ++i) {
    const std::size_t end = i + 1 < n ? bytes.find('\0') : std::string_view::npos;
    parts[i] = std::string(bytes.substr(0, end));
    bytes = end == std::string_view::npos ? std::string_view() : bytes.substr(end + 1);
  }
  return parts;
}

void read_vocab_and_merges(std::string_view bytes) {
  const std::vector<std::string> parts = parts_of(bytes, 5);
  HfFiles files;
  files.directory = "fuzz";
  files.vocabulary = HfVocabulary::vocab_and_merges;
  files.vocab_json = parts[0];
  files.merges_txt = parts[1];
  files.tokenizer_config = parts[2];
  files.special_tokens_map = parts[3];
  files.added_tokens = parts[4];
  use(parse_hf(files));
}

void read_tekken(std::string_view bytes) {
  const std::vector<std::string> parts = parts_of(bytes, 2);
  HfFiles files;
  files.directory = "fuzz";
  files.vocabulary = HfVocabulary::tekken;
  files.tekken_json = parts[0];
  files.tokenizer_config = parts[1];
  use(parse_hf(files));
}

TokenizerData with_bytes(TokenizerKind kind) {
  TokenizerData data;
  data.kind = kind;
  const bool spm = kind != TokenizerKind::byte_bpe;  // pieces of SentencePiece
  for (int b = 0; b < 256; ++b)
    data.tokens.push_back(spm ? byte_token(b) : byte_symbol(static_cast<std::uint8_t>(b)));
  data.types.assign(256, spm ? TokenType::byte : TokenType::normal);
  data.scores.assign(256, 0.0f);
  float score = -1.0f;
  const auto add = [&](const std::string& token, TokenType type) {
    data.tokens.push_back(token);
    data.types.push_back(type);
    data.scores.push_back(score);
    score -= 1.0f;
  };
  if (spm) {
    for (const char* token : {"\xE2\x96\x81"
                              "a",
                              "aa", "\xE2\x96\x81\xE2\x96\x81", "\xE2\x96\x81", "a", "\xC3\xA9"})
      add(token, TokenType::normal);
    data.pre = "default";
  } else {
    for (const char* merge :
         {"a a", "aa a", "\xC4\xA0 a", "\xC4\xA0 \xC4\xA0", "\xC3\x83 \xC2\xA9"}) {
      const std::string text = merge;
      const std::size_t space = text.find(' ');
      add(text.substr(0, space) + text.substr(space + 1), TokenType::normal);
      data.merges.push_back(text);
    }
    data.pre = "llama-bpe";
  }
  if (kind == TokenizerKind::unigram) {
    data.unk = static_cast<std::int32_t>(data.tokens.size());
    add("<unk>", TokenType::unknown);
  }
  add("<x>", TokenType::user_defined);
  add("<xx>", TokenType::control);
  return data;
}

void encode_text(TokenizerKind kind, std::string_view text) {
  static const Tokenizer bpe(with_bytes(TokenizerKind::byte_bpe)),
      spm(with_bytes(TokenizerKind::spm)), unigram(with_bytes(TokenizerKind::unigram));
  const Tokenizer& tokenizer = kind == TokenizerKind::spm       ? spm
                               : kind == TokenizerKind::unigram ? unigram
                                                                : bpe;
  std::string repaired = replace_broken_utf8(text);
  for (const bool parse : {false, true}) {
    const std::string decoded = tokenizer.decode(tokenizer.encode(text, true, parse));
    // SPM and unigram write U+2581 for a space and put one behind every added token; only text
    // without either comes back as it was.
    const bool exact =
        kind == TokenizerKind::byte_bpe ||
        (repaired.find(kSpaceSymbol) == std::string::npos &&
         repaired.find("<x") == std::string::npos && repaired.find("<unk>") == std::string::npos);
    if (exact) require(decoded == repaired);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  espalier::fuzz::allow_refusal([&] {
    switch (data[0]) {
      case 'j':
        read_json_files(bytes);
        break;
      case 'g':
        read_gguf(bytes);
        break;
      case 'm':
        read_model(bytes);
        break;
      case 'v':
        read_vocab_and_merges(bytes);
        break;
      case 't':
        read_tekken(bytes);
        break;
      case 'b':
        encode_text(TokenizerKind::byte_bpe, bytes);
        break;
      case 's':
        encode_text(TokenizerKind::spm, bytes);
        break;
      case 'u':
        encode_text(TokenizerKind::unigram, bytes);
        break;
      default:
        break;
    }
  });
  return 0;
}
