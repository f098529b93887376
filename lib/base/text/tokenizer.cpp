// SPDX-License-Identifier: Apache-2.0
// Encoding and decoding. A text goes through: repair of broken UTF-8, splitting at added tokens,
// normalization, splitting into words (byte_bpe), merging. No file formats here.
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

// Shorter texts do not repay a cache of words.
constexpr std::size_t kCacheFromBytes = 1024;
constexpr std::size_t kCachedWordBytes = 64;

// Buffers of one encode() call.
struct Work {
  std::vector<std::int32_t> ids;
  std::vector<Symbol> word;
  Merger merger;
};

}  // namespace

struct Tokenizer::State {
  TokenizerSettings settings;
  TokenIds tokens;
  std::vector<TokenType> types;
  MergeTable merges;
  std::array<std::int32_t, 256> byte_ids{};  // -1: absent (byte_bpe only)
  SpecialTrie raw_tokens, normalized_tokens;
  std::vector<AddedRule> rule_of;  // by id; empty when there are none
  // Added tokens whose piece is their normalized text.
  std::unordered_map<std::int32_t, std::string> respelled;
  std::optional<PreTokenizer> pre;  // byte_bpe
  // spm
  std::vector<bool> merged;  // by id: merging can make the token
  // No token has a space behind another character, so words are merged one by one.
  bool cut_before_space = false;
  std::optional<Unigram> unigram;

  explicit State(const TokenizerData& data);
  void prepare_bpe(const TokenizerData& data);
  void prepare_spm(const TokenizerData& data);
  void prepare_added();
  std::size_t size() const { return tokens.size(); }
  TokenType type(std::int32_t id) const { return types[static_cast<std::size_t>(id)]; }
  std::int32_t checked(std::int32_t id) const {
    ESP_CHECK(id >= 0 && static_cast<std::size_t>(id) < size(), input, "token id ", id,
              " is outside the vocabulary of ", size(), " tokens");
    return id;
  }
  std::string piece(std::int32_t id) const;
  std::string normalize(std::string_view text) const;

  void encode_text(std::string_view text, bool parse_special, Work& work) const;
  void encode_segment(std::string_view text, bool first, bool parse_special, Work& work) const;
  void encode_plain(std::string_view text, bool first, Work& work) const;
  void encode_bpe_word(std::string_view word, Work& work) const;
  void encode_spm_word(std::string_view word, Work& work) const;
  template <typename Plain>
  void split_added(const SpecialTrie& trie, std::string_view text, bool parse_special, Work& work,
                   Plain plain) const;
};

Tokenizer::State::State(const TokenizerData& data)
    : settings(data), tokens(check_vocabulary(data, "tokenizer")), types(data.types) {
  byte_ids.fill(-1);
  if (data.kind == TokenizerKind::byte_bpe) prepare_bpe(data);
  if (data.kind == TokenizerKind::spm) prepare_spm(data);
  if (data.kind == TokenizerKind::unigram) unigram.emplace(data);
  prepare_added();
}

void Tokenizer::State::prepare_bpe(const TokenizerData& data) {
  merges = MergeTable(resolve_merges(data, tokens, "tokenizer"));
  pre.emplace(*find_pre_spec(data.pre));
  for (int b = 0; b < 256; ++b)
    byte_ids[static_cast<std::size_t>(b)] = tokens.find(byte_symbol(static_cast<std::uint8_t>(b)));
}

void Tokenizer::State::prepare_spm(const TokenizerData& data) {
  merges = MergeTable(merges_from_scores(data, tokens));
  merged = merged_tokens(data);
  cut_before_space = true;
  for (std::size_t i = 0; i < size(); ++i) {
    const std::string_view token = data.tokens[i];
    if (types[i] == TokenType::byte)
      byte_ids[static_cast<std::size_t>(byte_of_token(token))] = static_cast<std::int32_t>(i);
    if (!merged[i]) continue;
    for (std::size_t at = token.find(kSpaceSymbol, 1); at != std::string::npos;
         at = token.find(kSpaceSymbol, at + 1)) {
      if (at < kSpaceSymbol.size() ||
          token.substr(at - kSpaceSymbol.size(), kSpaceSymbol.size()) != kSpaceSymbol)
        cut_before_space = false;
    }
  }
}

std::string Tokenizer::State::piece(std::int32_t id) const {
  if (const auto found = respelled.find(id); found != respelled.end()) return found->second;
  const std::string_view token = tokens.text(id);
  if (settings.kind == TokenizerKind::byte_bpe) {
    return type(id) == TokenType::normal ? bytes_of_symbols(token).value_or(std::string(token))
                                         : std::string(token);
  }
  if (type(id) == TokenType::byte)
    return std::string(1, static_cast<char>(static_cast<unsigned char>(byte_of_token(token))));
  const bool text = type(id) == TokenType::normal || type(id) == TokenType::user_defined;
  return text ? replace_all(token, kSpaceSymbol, " ") : std::string(token);
}

void Tokenizer::State::prepare_added() {
  if (!settings.rules.empty()) {
    rule_of.resize(size());
    for (const AddedRule& rule : settings.rules) rule_of[static_cast<std::size_t>(rule.id)] = rule;
  }
  for (std::size_t i = 0; i < size(); ++i) {
    if (types[i] != TokenType::control && types[i] != TokenType::user_defined &&
        types[i] != TokenType::unknown)
      continue;
    const auto id = static_cast<std::int32_t>(i);
    const std::string_view content = tokens.text(id);
    if (!rule_of.empty() && rule_of[i].bare) {
      if (settings.kind == TokenizerKind::unigram) continue;  // found during segmentation
      normalized_tokens.insert(content, id);
    } else if (!rule_of.empty() && rule_of[i].normalized) {
      const std::string normal = normalize(content);
      normalized_tokens.insert(normal, id);
      respelled[id] = settings.kind != TokenizerKind::byte_bpe
                          ? replace_all(normal, kSpaceSymbol, " ")
                          : normal;  // as `tokenizers` decodes it
    } else {
      raw_tokens.insert(content, id);
    }
  }
}

std::string Tokenizer::State::normalize(std::string_view text) const {
  if (settings.kind == TokenizerKind::byte_bpe)
    return settings.nfc ? to_nfc(text) : std::string(text);
  if (unigram) return unigram->normalize(text);
  if (settings.add_space_prefix && settings.space_rule != SpaceRule::every_segment)
    return std::string(text);  // normalized later, in encode_plain
  std::string out = replace_all(text, " ", kSpaceSymbol);
  if (settings.add_space_prefix && !text.empty()) out.insert(0, kSpaceSymbol);
  return out;
}

// Cuts a text at added tokens and calls plain(start, end) for the text between them. A control
// token that is not to be parsed stays text. It still ends the search at its position, so that no
// shorter token is found inside it.
template <typename Plain>
void Tokenizer::State::split_added(const SpecialTrie& trie, std::string_view text,
                                   bool parse_special, Work& work, Plain plain) const {
  std::size_t done = 0, from = 0;
  while (from < text.size()) {
    const SpecialTrie::Match match = trie.find(text, from);
    if (match.id < 0) break;
    const auto index = static_cast<std::size_t>(match.id);
    from = match.start + match.length;
    if (!parse_special && types[index] != TokenType::user_defined) continue;
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

void Tokenizer::State::encode_segment(std::string_view text, bool first, bool parse_special,
                                      Work& work) const {
  const std::string normal = normalize(text);
  if (normalized_tokens.empty()) {
    encode_plain(normal, first, work);
    return;
  }
  const std::string_view view = normal;
  split_added(normalized_tokens, view, parse_special, work,
              [&](std::size_t start, std::size_t end) {
                encode_plain(view.substr(start, end - start), first && start == 0, work);
              });
}

void Tokenizer::State::encode_plain(std::string_view text, bool first, Work& work) const {
  if (unigram) {
    unigram->encode(text, work.ids);
    return;
  }
  // The ids of a word seen before are in work.ids already, at (position, count).
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
    if (settings.kind == TokenizerKind::byte_bpe) {
      encode_bpe_word(word, work);
    } else {
      encode_spm_word(word, work);
    }
    if (cached != nullptr) cached->second = work.ids.size() - cached->first;
  };
  if (settings.kind == TokenizerKind::byte_bpe) {
    pre->split(text, encode_word);
    return;
  }
  std::string spaced;
  if (settings.add_space_prefix && settings.space_rule != SpaceRule::every_segment) {
    spaced = replace_all(text, " ", kSpaceSymbol);
    const bool wanted = first || settings.space_rule == SpaceRule::metaspace_always;
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
    const bool behind_space =
        space >= kSpaceSymbol.size() &&
        text.substr(space - kSpaceSymbol.size(), kSpaceSymbol.size()) == kSpaceSymbol;
    if (behind_space) continue;
    encode_word(text.substr(start, space - start));
    start = space;
  }
  encode_word(text.substr(start));
}

void Tokenizer::State::encode_bpe_word(std::string_view word, Work& work) const {
  if (settings.ignore_merges) {
    const std::int32_t whole = tokens.find(symbols_of_bytes(word));
    if (whole >= 0 && type(whole) == TokenType::normal) {
      work.ids.push_back(whole);
      return;
    }
  }
  work.word.clear();
  for (std::size_t i = 0; i < word.size(); ++i) {
    // A byte that the vocabulary lacks is dropped, as in the Hugging Face tokenizers.
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
    const std::int32_t found = tokens.find(word.substr(i, length));
    work.word.push_back({found >= 0 && merged[static_cast<std::size_t>(found)] ? found : -1,
                         static_cast<std::uint32_t>(i)});
    i += length;
  }
  work.merger.apply(merges, work.word);
  for (const Symbol& symbol : work.word) {
    if (symbol.id >= 0) {
      work.ids.push_back(symbol.id);
      continue;
    }
    const std::size_t length = code_point_at(word, symbol.start).length;
    for (const char c : word.substr(symbol.start, length))
      work.ids.push_back(byte_ids[static_cast<unsigned char>(c)]);
  }
}

const char* name_of(TokenizerKind kind) {
  switch (kind) {
    case TokenizerKind::byte_bpe:
      return "byte_bpe";
    case TokenizerKind::spm:
      return "spm";
    case TokenizerKind::unigram:
      return "unigram";
  }
  return "unknown";
}

Tokenizer::Tokenizer(const TokenizerData& data) : state_(std::make_unique<State>(data)) {}
Tokenizer::~Tokenizer() = default;
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;

const TokenizerSettings& Tokenizer::settings() const { return state_->settings; }
std::int64_t Tokenizer::vocab_size() const { return static_cast<std::int64_t>(state_->size()); }
std::string_view Tokenizer::token(std::int32_t id) const {
  return state_->tokens.text(state_->checked(id));
}
TokenType Tokenizer::type(std::int32_t id) const { return state_->type(state_->checked(id)); }

std::vector<std::int32_t> Tokenizer::encode(std::string_view text, bool add_special,
                                            bool parse_special) const {
  // Normalization makes a text at most three times as long (a space becomes U+2581; the standard
  // bounds NFC). A character map has its own bound.
  ESP_CHECK(text.size() <= std::numeric_limits<std::uint32_t>::max() / 16, input, "text of ",
            text.size(), " bytes is too long to tokenize in one piece");
  Work work;
  work.ids.reserve(text.size() / 3 + 8);
  if (add_special && state_->settings.add_bos) work.ids.push_back(*state_->settings.bos);
  if (is_valid_utf8(text)) {
    state_->encode_text(text, parse_special, work);
  } else {
    state_->encode_text(replace_broken_utf8(text), parse_special, work);
  }
  if (add_special && state_->settings.add_eos) work.ids.push_back(*state_->settings.eos);
  return std::move(work.ids);
}

std::string Tokenizer::piece(std::int32_t id) const { return state_->piece(state_->checked(id)); }

std::string Tokenizer::decode(const std::vector<std::int32_t>& ids, bool skip_special) const {
  std::string out;
  for (const std::int32_t id : ids) {
    const std::string bytes = piece(id);
    if (skip_special && (type(id) == TokenType::control || type(id) == TokenType::unknown))
      continue;
    out += bytes;
  }
  const bool prefixed =
      state_->settings.kind != TokenizerKind::byte_bpe && state_->settings.add_space_prefix;
  if (prefixed && out.starts_with(' ')) out.erase(0, 1);
  return is_valid_utf8(out) ? out : replace_broken_utf8(out);
}

bool Tokenizer::same_vocabulary(const Tokenizer& other) const {
  const State &a = *state_, &b = *other.state_;
  return a.settings.kind == b.settings.kind && a.tokens == b.tokens && a.types == b.types &&
         a.merges == b.merges && a.unigram == b.unigram &&
         find_pre_spec(a.settings.pre) == find_pre_spec(b.settings.pre);
}

}  // namespace espalier::text
