// Encoding and decoding. Text goes through: repair of broken UTF-8, splitting at added tokens, normalization, (byte_bpe) splitting into
// words, merging. Nothing here knows file formats.
#include "text/tokenizer.h"

#include <algorithm>
#include <array>
#include <limits>
#include <optional>
#include <unordered_map>

#include "core/error.h"
#include "text/byte_alphabet.h"
#include "text/merge_table.h"
#include "text/pretokenizer.h"
#include "text/special_trie.h"
#include "text/unigram.h"
#include "text/utf8.h"
#include "text/vocabulary.h"

namespace espalier::text {
namespace {

constexpr std::size_t kCacheFromBytes = 1024;  // shorter text does not repay a cache of words
constexpr std::size_t kCachedWordBytes = 64;

// Buffers of one encode() call.
struct Work {
  std::vector<std::int32_t> ids;
  std::vector<Symbol> word;
  Merger merger;
};

}  // namespace

struct Tokenizer::State {
  TokenizerData data;
  std::vector<std::string> pieces;  // bytes of each token
  MergeTable merges;
  std::array<std::int32_t, 256> byte_ids{};  // -1: absent (byte_bpe only)
  SpecialTrie raw_tokens, normalized_tokens;
  std::vector<AddedRule> rule_of;  // by id; empty when there are none
  // byte_bpe
  std::optional<PreTokenizer> pre;
  std::unordered_map<std::string_view, std::int32_t> whole_words;  // with ignore_merges: bytes of normal tokens
  // spm
  std::unordered_map<std::string_view, std::int32_t> characters;  // merged tokens of one code point
  std::optional<Unigram> unigram;
  bool cut_before_space = false;  // no token has a space behind something else, so merges never cross such a place

  explicit State(TokenizerData source);
  void prepare_bpe(const TokenIds& ids);
  void prepare_spm(const TokenIds& ids);
  void prepare_pieces();
  void prepare_added();
  std::string normalize(std::string_view text) const;

  void encode_text(std::string_view text, bool parse_special, Work& work) const;
  void encode_segment(std::string_view text, bool first, bool parse_special, Work& work) const;
  void encode_plain(std::string_view text, bool first, Work& work) const;
  void encode_bpe_word(std::string_view word, Work& work) const;
  void encode_spm_word(std::string_view word, Work& work) const;
  template <typename Plain>
  void split_added(const SpecialTrie& trie, std::string_view text, bool parse_special, Work& work, Plain plain) const;
};

Tokenizer::State::State(TokenizerData source) : data(std::move(source)) {
  check_tokenizer(data, "tokenizer");
  const TokenIds ids = index_tokens(data, "tokenizer");
  byte_ids.fill(-1);
  pieces.resize(data.tokens.size());
  if (data.kind == TokenizerKind::byte_bpe) {
    prepare_bpe(ids);
  } else {
    prepare_pieces();
    if (data.kind == TokenizerKind::spm) prepare_spm(ids);
    if (data.kind == TokenizerKind::unigram) unigram.emplace(data);
  }
  prepare_added();
}

void Tokenizer::State::prepare_bpe(const TokenIds& ids) {
  merges = MergeTable(resolve_merges(data, ids, "tokenizer"));
  pre.emplace(*find_pre_spec(data.pre));
  for (int b = 0; b < 256; ++b) {
    const auto found = ids.find(byte_symbol(static_cast<std::uint8_t>(b)));
    if (found != ids.end()) byte_ids[static_cast<std::size_t>(b)] = found->second;
  }
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    const bool plain = data.types[i] == TokenType::normal;
    pieces[i] = plain ? bytes_of_symbols(data.tokens[i]).value_or(data.tokens[i]) : data.tokens[i];
    if (plain && data.ignore_merges) whole_words.emplace(pieces[i], static_cast<std::int32_t>(i));
  }
}

// Bytes of the tokens of a SentencePiece vocabulary.
void Tokenizer::State::prepare_pieces() {
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    const std::string& token = data.tokens[i];
    const TokenType type = data.types[i];
    if (type == TokenType::byte) {
      const int byte = byte_of_token(token);
      pieces[i] = std::string(1, static_cast<char>(static_cast<unsigned char>(byte)));
      byte_ids[static_cast<std::size_t>(byte)] = static_cast<std::int32_t>(i);
    } else {
      const bool text = type == TokenType::normal || type == TokenType::user_defined;
      pieces[i] = text ? replace_all(token, kSpaceSymbol, " ") : token;
    }
  }
}

void Tokenizer::State::prepare_spm(const TokenIds& ids) {
  merges = MergeTable(merges_from_scores(data, ids));
  const std::vector<bool> merged = merged_tokens(data);
  cut_before_space = true;
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    const std::string& token = data.tokens[i];
    if (!merged[i]) continue;
    if (code_point_at(token, 0).length == token.size()) characters.emplace(token, static_cast<std::int32_t>(i));
    for (std::size_t at = token.find(kSpaceSymbol, 1); at != std::string::npos; at = token.find(kSpaceSymbol, at + 1)) {
      if (at < kSpaceSymbol.size() || std::string_view(token).substr(at - kSpaceSymbol.size(), kSpaceSymbol.size()) != kSpaceSymbol) {
        cut_before_space = false;
      }
    }
  }
}

void Tokenizer::State::prepare_added() {
  if (!data.rules.empty()) {
    rule_of.resize(data.tokens.size());
    for (const AddedRule& rule : data.rules) rule_of[static_cast<std::size_t>(rule.id)] = rule;
  }
  for (std::size_t i = 0; i < data.tokens.size(); ++i) {
    const TokenType type = data.types[i];
    if (type != TokenType::control && type != TokenType::user_defined && type != TokenType::unknown) continue;
    const auto id = static_cast<std::int32_t>(i);
    const std::string& content = data.tokens[i];
    if (!rule_of.empty() && rule_of[i].bare) {
      if (data.kind == TokenizerKind::unigram) continue;  // found while segmenting
      normalized_tokens.insert(content, id);
    } else if (!rule_of.empty() && rule_of[i].normalized) {
      const std::string normal = normalize(content);
      normalized_tokens.insert(normal, id);
      pieces[i] = data.kind != TokenizerKind::byte_bpe ? replace_all(normal, kSpaceSymbol, " ") : normal;  // as `tokenizers` decodes it
    } else {
      raw_tokens.insert(content, id);
    }
  }
}

std::string Tokenizer::State::normalize(std::string_view text) const {
  if (data.kind == TokenizerKind::byte_bpe) return data.nfc ? to_nfc(text) : std::string(text);
  if (unigram) return unigram->normalize(text);
  if (data.add_space_prefix && data.space_rule != SpaceRule::every_segment) return std::string(text);  // later, in encode_plain
  std::string out = replace_all(text, " ", kSpaceSymbol);
  if (data.add_space_prefix && !text.empty()) out.insert(0, kSpaceSymbol);
  return out;
}

// Cuts text at added tokens and calls plain(start, end) for what lies between them. A control token that is not to be parsed still ends
// the search at its place (so that no shorter token is found inside it) but stays text.
template <typename Plain>
void Tokenizer::State::split_added(const SpecialTrie& trie, std::string_view text, bool parse_special, Work& work, Plain plain) const {
  std::size_t done = 0, from = 0;
  while (from < text.size()) {
    const SpecialTrie::Match match = trie.find(text, from);
    if (match.id < 0) break;
    const auto index = static_cast<std::size_t>(match.id);
    from = match.start + match.length;
    if (!parse_special && data.types[index] != TokenType::user_defined) continue;
    std::size_t start = match.start;
    if (!rule_of.empty()) {
      if (rule_of[index].lstrip) start -= trailing_space_bytes(text.substr(done, start - done));
      if (rule_of[index].rstrip) from += leading_space_bytes(text.substr(from));
    }
    if (start > done) plain(done, start);
    work.ids.push_back(match.id);
    done = from;
  }
  if (done < text.size()) plain(done, text.size());
}

void Tokenizer::State::encode_text(std::string_view text, bool parse_special, Work& work) const {
  split_added(raw_tokens, text, parse_special, work, [&](std::size_t start, std::size_t end) {
    encode_segment(text.substr(start, end - start), start == 0, parse_special, work);
  });
}

void Tokenizer::State::encode_segment(std::string_view text, bool first, bool parse_special, Work& work) const {
  const std::string normal = normalize(text);
  if (normalized_tokens.empty()) {
    encode_plain(normal, first, work);
    return;
  }
  const std::string_view view = normal;
  split_added(normalized_tokens, view, parse_special, work, [&](std::size_t start, std::size_t end) {
    encode_plain(view.substr(start, end - start), first && start == 0, work);
  });
}

void Tokenizer::State::encode_plain(std::string_view text, bool first, Work& work) const {
  if (unigram) {
    unigram->encode(text, work.ids);
    return;
  }
  // A word met before has its ids in work.ids already: (position, count).
  std::unordered_map<std::string_view, std::pair<std::size_t, std::size_t>> cache;
  const bool use_cache = text.size() >= kCacheFromBytes;
  const auto encode_word = [&](std::string_view word) {
    std::pair<std::size_t, std::size_t>* cached = nullptr;
    if (use_cache && word.size() <= kCachedWordBytes) {
      const auto [entry, fresh] = cache.try_emplace(word, work.ids.size(), 0);
      cached = &entry->second;
      if (!fresh) {
        const auto [position, count] = *cached;
        for (std::size_t i = 0; i < count; ++i) work.ids.push_back(work.ids[position + i]);
        return;
      }
    }
    if (data.kind == TokenizerKind::byte_bpe) {
      encode_bpe_word(word, work);
    } else {
      encode_spm_word(word, work);
    }
    if (cached != nullptr) cached->second = work.ids.size() - cached->first;
  };
  if (data.kind == TokenizerKind::byte_bpe) {
    pre->split(text, encode_word);
    return;
  }
  std::string spaced;
  if (data.add_space_prefix && data.space_rule != SpaceRule::every_segment) {
    spaced = replace_all(text, " ", kSpaceSymbol);
    const bool wanted = first || data.space_rule == SpaceRule::metaspace_always;
    if (wanted && !spaced.starts_with(kSpaceSymbol)) spaced.insert(0, kSpaceSymbol);
    text = spaced;
  }
  if (!cut_before_space) {
    encode_word(text);
    return;
  }
  std::size_t start = 0;
  for (std::size_t space = text.find(kSpaceSymbol, 1); space != std::string_view::npos;
       space = text.find(kSpaceSymbol, space + kSpaceSymbol.size())) {
    const bool behind_space = space >= kSpaceSymbol.size() && text.substr(space - kSpaceSymbol.size(), kSpaceSymbol.size()) == kSpaceSymbol;
    if (behind_space) continue;
    encode_word(text.substr(start, space - start));
    start = space;
  }
  encode_word(text.substr(start));
}

void Tokenizer::State::encode_bpe_word(std::string_view word, Work& work) const {
  if (data.ignore_merges) {
    const auto whole = whole_words.find(word);
    if (whole != whole_words.end()) {
      work.ids.push_back(whole->second);
      return;
    }
  }
  work.word.clear();
  for (std::size_t i = 0; i < word.size(); ++i) {
    // A byte the vocabulary lacks is dropped, as the Hugging Face tokenizers do.
    const std::int32_t id = byte_ids[static_cast<unsigned char>(word[i])];
    if (id >= 0) work.word.push_back({id, static_cast<std::uint32_t>(i)});
  }
  work.merger.apply(merges, work.word);
  for (const Symbol& symbol : work.word) work.ids.push_back(symbol.id);
}

void Tokenizer::State::encode_spm_word(std::string_view word, Work& work) const {
  work.word.clear();
  for (std::size_t i = 0; i < word.size();) {
    const std::size_t length = code_point_at(word, i).length;
    const auto found = characters.find(word.substr(i, length));
    work.word.push_back({found == characters.end() ? -1 : found->second, static_cast<std::uint32_t>(i)});
    i += length;
  }
  work.merger.apply(merges, work.word);
  for (const Symbol& symbol : work.word) {
    if (symbol.id >= 0) {
      work.ids.push_back(symbol.id);
      continue;
    }
    const std::size_t length = code_point_at(word, symbol.start).length;
    for (const char c : word.substr(symbol.start, length)) work.ids.push_back(byte_ids[static_cast<unsigned char>(c)]);
  }
}

const char* name_of(TokenizerKind kind) {
  switch (kind) {
    case TokenizerKind::byte_bpe: return "byte_bpe";
    case TokenizerKind::spm: return "spm";
    case TokenizerKind::unigram: return "unigram";
  }
  return "unknown";
}

Tokenizer::Tokenizer(TokenizerData data) : state_(std::make_unique<State>(std::move(data))) {}
Tokenizer::~Tokenizer() = default;
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;

const TokenizerData& Tokenizer::data() const { return state_->data; }
std::int64_t Tokenizer::vocab_size() const { return static_cast<std::int64_t>(state_->data.tokens.size()); }

std::vector<std::int32_t> Tokenizer::encode(std::string_view text, bool add_special, bool parse_special) const {
  // Normalization makes text at most three times as long (a space becomes U+2581; NFC, bounded by the standard); a character map has its own bound.
  ESP_CHECK(text.size() <= std::numeric_limits<std::uint32_t>::max() / 16, input, "text of ", text.size(),
            " bytes is too long to tokenize in one piece");
  Work work;
  work.ids.reserve(text.size() / 3 + 8);
  if (add_special && state_->data.add_bos) work.ids.push_back(*state_->data.bos);
  if (is_valid_utf8(text)) {
    state_->encode_text(text, parse_special, work);
  } else {
    state_->encode_text(replace_broken_utf8(text), parse_special, work);
  }
  if (add_special && state_->data.add_eos) work.ids.push_back(*state_->data.eos);
  return std::move(work.ids);
}

std::string Tokenizer::piece(std::int32_t id) const {
  ESP_CHECK(id >= 0 && id < vocab_size(), input, "token id ", id, " is outside the vocabulary of ", vocab_size(), " tokens");
  return state_->pieces[static_cast<std::size_t>(id)];
}

std::string Tokenizer::decode(const std::vector<std::int32_t>& ids, bool skip_special) const {
  std::string out;
  for (const std::int32_t id : ids) {
    std::string bytes = piece(id);
    const TokenType type = state_->data.types[static_cast<std::size_t>(id)];
    if (skip_special && (type == TokenType::control || type == TokenType::unknown)) continue;
    out += bytes;
  }
  const bool prefixed = state_->data.kind != TokenizerKind::byte_bpe && state_->data.add_space_prefix;
  if (prefixed && out.starts_with(' ')) out.erase(0, 1);
  return is_valid_utf8(out) ? out : replace_broken_utf8(out);
}

}  // namespace espalier::text
