// SPDX-License-Identifier: Apache-2.0
// Checks of a vocabulary and its merges, and the merges that scores imply.
#include "text/vocabulary.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <unordered_set>

#include "core/error.h"
#include "text/charsmap.h"
#include "text/pretokenizer.h"
#include "text/utf8.h"

namespace espalier::text {
namespace {

constexpr std::size_t kMaxTokens = std::size_t{1} << 24;
constexpr std::size_t kMaxTokenBytes = std::size_t{1} << 16;

void check_id(const std::optional<std::int32_t>& id, std::size_t n, const char* name,
              const std::string& where) {
  if (!id) return;
  ESP_CHECK(*id >= 0 && static_cast<std::size_t>(*id) < n, input, where, ": ", name, " token id ",
            *id, " is outside the vocabulary of ", n, " tokens");
}

// `required`: a vocabulary without byte tokens is refused.
void check_byte_tokens(const TokenizerData& data, bool required, const std::string& where) {
  std::array<bool, 256> seen{};
  for (std::size_t i = 0; i < data.tokens.size(); ++i) {
    if (data.types[i] != TokenType::byte) continue;
    const int byte = byte_of_token(data.tokens[i]);
    ESP_CHECK(byte >= 0, input, where, ": token ", i, " is of type byte, but its text is ",
              shown(data.tokens[i]), ", expected <0x00> to <0xFF>");
    seen[static_cast<std::size_t>(byte)] = true;
  }
  if (!required && std::find(seen.begin(), seen.end(), true) == seen.end()) return;
  const auto missing = std::find(seen.begin(), seen.end(), false);
  ESP_CHECK(missing == seen.end(), unsupported, where, ": no token of type byte for ",
            byte_token(static_cast<int>(missing - seen.begin())),
            required ? "; SPM vocabularies without byte fallback are not supported"
                     : ", but tokens for other bytes");
}

}  // namespace

int byte_of_token(std::string_view token) {
  if (token.size() != 6 || token.substr(0, 3) != "<0x" || token[5] != '>') return -1;
  int value = 0;
  for (const char c : token.substr(3, 2)) {
    const bool digit = c >= '0' && c <= '9', letter = c >= 'A' && c <= 'F';
    if (!digit && !letter) return -1;
    value = value * 16 + (digit ? c - '0' : c - 'A' + 10);
  }
  return value;
}

std::string byte_token(int byte) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  std::string out = "<0x..>";
  out[3] = kDigits[static_cast<std::size_t>(byte >> 4)];
  out[4] = kDigits[static_cast<std::size_t>(byte & 15)];
  return out;
}

std::string shown(std::string_view token) {
  constexpr std::size_t kShownBytes = 60;
  std::string out = "'";
  out.append(replace_broken_utf8(token.substr(0, kShownBytes)));
  return out.append(token.size() > kShownBytes ? "...'" : "'");
}

TokenIds index_tokens(const TokenizerData& data, const std::string& where) {
  TokenIds ids(data.tokens.size());
  for (std::size_t i = 0; i < data.tokens.size(); ++i) {
    const std::string& token = data.tokens[i];
    ESP_CHECK(!token.empty(), input, where, ": token ", i, " is empty");
    ESP_CHECK(token.size() <= kMaxTokenBytes, input, where, ": token ", i, " has ", token.size(),
              " bytes, more than ", kMaxTokenBytes);
    ESP_CHECK(is_valid_utf8(token), input, where, ": token ", i, " is not valid UTF-8");
    const std::int32_t before = ids.add(token);
    ESP_CHECK(before < 0, input, where, ": tokens ", before, " and ", i,
              " are the same: ", shown(token));
  }
  return ids;
}

std::vector<Merge> resolve_merges(const TokenizerData& data, const TokenIds& ids,
                                  const std::string& where) {
  std::vector<Merge> merges;
  merges.reserve(data.merges.size());
  MergeTable seen(data.merges.size());
  std::string joined;
  for (std::size_t i = 0; i < data.merges.size(); ++i) {
    const std::string_view text = data.merges[i];
    const std::size_t space = text.find(' ');
    const bool two = space != std::string_view::npos && space > 0 && space + 1 < text.size() &&
                     text.find(' ', space + 1) == std::string_view::npos;
    ESP_CHECK(two, input, where, ": merge ", i, " is ", shown(text),
              ", expected two tokens with one space between them");
    const std::int32_t left = ids.find(text.substr(0, space)),
                       right = ids.find(text.substr(space + 1));
    joined.assign(text.substr(0, space));
    joined.append(text.substr(space + 1));
    const std::int32_t result = ids.find(joined);
    ESP_CHECK(left >= 0 && right >= 0 && result >= 0, input, where, ": merge ", i, " is ",
              shown(text), ", but ",
              shown(left < 0    ? text.substr(0, space)
                    : right < 0 ? text.substr(space + 1)
                                : std::string_view(joined)),
              " is not a token");
    const Merge merge{left, right, static_cast<std::uint32_t>(i), result};
    ESP_CHECK(seen.add(merge), input, where, ": merge ", i, " (", shown(text),
              ") was there before");
    merges.push_back(merge);
  }
  return merges;
}

std::vector<bool> merged_tokens(const TokenizerData& data) {
  std::vector<bool> merged(data.tokens.size());
  for (std::size_t i = 0; i < data.tokens.size(); ++i) {
    const bool spaced = data.types[i] == TokenType::user_defined &&
                        data.tokens[i].find(kSpaceSymbol) != std::string::npos;
    merged[i] = data.types[i] == TokenType::normal || spaced;
  }
  for (const AddedRule& rule : data.rules) {
    if (rule.normalized) merged[static_cast<std::size_t>(rule.id)] = false;
  }
  return merged;
}

std::size_t count_code_points(std::string_view text) {
  std::size_t n = 0;
  for (std::size_t i = 0; i < text.size(); i += code_point_at(text, i).length) ++n;
  return n;
}

std::vector<Merge> merges_from_scores(const TokenizerData& data, const TokenIds& ids) {
  const std::vector<bool> merged = merged_tokens(data);
  std::vector<float> scores;
  for (std::size_t i = 0; i < data.tokens.size(); ++i) {
    if (merged[i]) scores.push_back(data.scores[i]);
  }
  std::sort(scores.begin(), scores.end(), std::greater<>());
  scores.erase(std::unique(scores.begin(), scores.end()), scores.end());
  struct Ranked {
    Merge merge;
    std::size_t left, right;  // code points
  };
  std::vector<Ranked> found;
  for (std::size_t i = 0; i < data.tokens.size(); ++i) {
    if (!merged[i]) continue;
    const std::string_view token = data.tokens[i];
    const auto better =
        std::lower_bound(scores.begin(), scores.end(), data.scores[i], std::greater<>());
    const auto rank = static_cast<std::uint32_t>(better - scores.begin());
    const std::size_t n = count_code_points(token);
    std::size_t left_length = 1;
    for (std::size_t cut = code_point_at(token, 0).length; cut < token.size();
         cut += code_point_at(token, cut).length, ++left_length) {
      const std::int32_t left = ids.find(token.substr(0, cut)), right = ids.find(token.substr(cut));
      if (left < 0 || right < 0) continue;
      if (!merged[static_cast<std::size_t>(left)] || !merged[static_cast<std::size_t>(right)])
        continue;
      found.push_back(
          {{left, right, rank, static_cast<std::int32_t>(i)}, left_length, n - left_length});
    }
  }
  std::stable_sort(found.begin(), found.end(), [](const Ranked& a, const Ranked& b) {
    if (a.merge.rank != b.merge.rank) return a.merge.rank < b.merge.rank;
    return a.left != b.left ? a.left > b.left : a.right > b.right;
  });
  std::vector<Merge> merges;
  merges.reserve(found.size());
  for (const Ranked& ranked : found) merges.push_back(ranked.merge);
  return merges;
}

TokenIds check_vocabulary(const TokenizerData& data, const std::string& where) {
  const std::size_t n = data.tokens.size();
  ESP_CHECK(n > 0, input, where, ": the vocabulary is empty");
  ESP_CHECK(n <= kMaxTokens, input, where, ": ", n, " tokens, more than ", kMaxTokens);
  ESP_CHECK(data.types.size() == n, input, where, ": ", data.types.size(), " token types for ", n,
            " tokens");
  for (std::size_t i = 0; i < n; ++i) {
    const auto type = static_cast<std::int32_t>(data.types[i]);
    ESP_CHECK(type >= 1 && type <= 6, input, where, ": token ", i, " has type ", type,
              ", expected 1 to 6");
  }
  check_id(data.bos, n, "BOS", where);
  check_id(data.eos, n, "EOS", where);
  check_id(data.unk, n, "unknown", where);
  check_id(data.pad, n, "padding", where);
  ESP_CHECK(!data.add_bos || data.bos, input, where,
            ": a BOS token is to be added, but none is named");
  ESP_CHECK(!data.add_eos || data.eos, input, where,
            ": an EOS token is to be added, but none is named");
  for (const AddedRule& rule : data.rules) check_id(rule.id, n, "added", where);
  ESP_CHECK(is_valid_utf8(data.chat_template), input, where,
            ": the chat template is not valid UTF-8");
  TokenIds ids = index_tokens(data, where);
  if (data.kind == TokenizerKind::byte_bpe) {
    ESP_CHECK(find_pre_spec(data.pre) != nullptr, unsupported, where, ": pre-tokenizer '", data.pre,
              "' is not supported; known are ", known_pre_names());
    return ids;
  }
  ESP_CHECK(data.scores.size() == n, input, where, ": ", data.scores.size(), " scores for ", n,
            " tokens");
  for (std::size_t i = 0; i < n; ++i) {
    ESP_CHECK(std::isfinite(data.scores[i]), input, where, ": token ", i,
              " has a score that is not finite");
  }
  check_byte_tokens(data, data.kind == TokenizerKind::spm, where);
  if (data.kind != TokenizerKind::unigram) return ids;
  ESP_CHECK(data.unk && data.types[static_cast<std::size_t>(*data.unk)] == TokenType::unknown,
            input, where, ": no token of type unknown, which a unigram tokenizer needs");
  ESP_CHECK(std::find(data.types.begin(), data.types.end(), TokenType::normal) != data.types.end(),
            input, where, ": there is no normal token");
  const auto changed =
      std::find_if(data.rules.begin(), data.rules.end(),
                   [](const AddedRule& rule) { return rule.normalized && !rule.bare; });
  ESP_CHECK(changed == data.rules.end(), unsupported, where, ": token ", changed->id,
            " is looked for after normalization, which is not supported for unigram tokenizers");
  const CharacterMap readable(data.charsmap, where);  // refuses what is not
  return ids;
}

void check_tokenizer(const TokenizerData& data, const std::string& where) {
  const TokenIds ids = check_vocabulary(data, where);
  if (data.kind == TokenizerKind::byte_bpe) resolve_merges(data, ids, where);
}

void pad_vocabulary(TokenizerData& data, std::int64_t n) {
  const auto have = static_cast<std::int64_t>(data.tokens.size());
  ESP_CHECK(n >= have && n <= static_cast<std::int64_t>(kMaxTokens), input,
            "cannot pad a vocabulary of ", have, " tokens to ", n);
  std::unordered_set<std::string> taken(data.tokens.begin(), data.tokens.end());
  for (std::int64_t i = have; i < n; ++i) {
    std::string name = "[PAD" + std::to_string(i) + "]";
    while (!taken.insert(name).second) name += "_";
    data.tokens.push_back(name);
    data.types.push_back(TokenType::unused);
    if (data.kind != TokenizerKind::byte_bpe) data.scores.push_back(-1e9f);
  }
}

bool same_vocabulary(const TokenizerData& a, const TokenizerData& b) {
  const auto canonical = [](const TokenizerData& data) {
    const PreSpec* spec = find_pre_spec(data.pre);
    return spec == nullptr ? data.pre : spec->name;
  };
  return a.kind == b.kind && a.tokens == b.tokens && a.types == b.types && a.merges == b.merges &&
         a.scores == b.scores && a.charsmap == b.charsmap && canonical(a) == canonical(b);
}

}  // namespace espalier::text
