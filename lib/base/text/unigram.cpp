// SPDX-License-Identifier: Apache-2.0
// Normalization and Viterbi segmentation of unigram tokenizers.
#include "text/unigram.h"

#include <algorithm>
#include <limits>

#include "core/error.h"
#include "text/utf8.h"
#include "text/vocabulary.h"

namespace espalier::text {
namespace {

constexpr float kUnknownPenalty = 10.0f;
constexpr double kUserDefinedPenalty = 0.1;
constexpr std::size_t kMaxBytes = std::size_t{1} << 31;  // size limit of normalized text

void append_part(std::string& out, std::string_view part) {
  out += part;
  ESP_CHECK(out.size() <= kMaxBytes, input, "the text grows beyond ", kMaxBytes,
            " bytes by the tokenizer's character map");
}

// The words of a text, each behind U+2581.
std::string join_words(std::string_view text, bool prefix) {
  std::string out;
  bool inside = false;
  for (std::size_t i = 0; i < text.size();) {
    const std::string_view part = text.substr(i, code_point_at(text, i).length);
    i += part.size();
    const bool space = leading_space_bytes(part) > 0;
    if (!space && !inside && prefix && part != kSpaceSymbol) append_part(out, kSpaceSymbol);
    if (!space) append_part(out, part);
    inside = !space;
  }
  return out;
}

// One U+2581 for spaces in a row, and one in front.
std::string join_spaces(std::string_view text, bool prefix) {
  text.remove_suffix(trailing_space_bytes(text));
  std::string out;
  bool behind_space = false;
  for (const char c : text) {
    if (c != ' ')
      out += c;
    else if (!behind_space)
      append_part(out, kSpaceSymbol);
    behind_space = c == ' ';
  }
  if (prefix && !out.empty() && !out.starts_with(kSpaceSymbol)) out.insert(0, kSpaceSymbol);
  return out;
}

}  // namespace

Unigram::Unigram(const TokenizerData& data)
    : add_space_prefix_(data.add_space_prefix),
      remove_extra_spaces_(data.remove_extra_spaces),
      space_rule_(data.space_rule),
      sums_{.single = !data.hf_tokenizer_model.empty()},
      unknown_(*data.unk),
      scores_(data.scores),
      map_(data.charsmap, "tokenizer") {
  byte_ids_.fill(-1);
  is_user_defined_.resize(data.tokens.size());
  for (const AddedRule& rule : data.rules)
    is_user_defined_[static_cast<std::size_t>(rule.id)] = rule.bare;
  std::vector<std::pair<std::string_view, std::int32_t>> pieces, user_defined;
  least_ = std::numeric_limits<float>::max();
  greatest_ = std::numeric_limits<float>::lowest();
  for (std::size_t i = 0; i < data.tokens.size(); ++i) {
    const auto id = static_cast<std::int32_t>(i);
    if (data.types[i] == TokenType::byte)
      byte_ids_[static_cast<std::size_t>(byte_of_token(data.tokens[i]))] = id;
    if (is_user_defined_[i]) user_defined.emplace_back(data.tokens[i], id);
    if (data.types[i] != TokenType::normal) continue;
    pieces.emplace_back(data.tokens[i], id);
    least_ = std::min(least_, data.scores[i]);
    greatest_ = std::max(greatest_, data.scores[i]);
  }
  pieces.insert(pieces.end(), user_defined.begin(), user_defined.end());
  pieces_ = PieceTrie(std::move(pieces));
  user_defined_ = PieceTrie(std::move(user_defined));
}

// What the text at `position` becomes: a user-defined piece unchanged, the longest entry of the
// map, or one code point.
CharacterMap::Match Unigram::mapped(std::string_view text, std::size_t position) const {
  std::size_t longest = 0;
  user_defined_.prefixes(text, position,
                         [&](std::size_t length, std::int32_t) { longest = length; });
  if (longest > 0) return {longest, text.substr(position, longest)};
  const CharacterMap::Match match = map_.find(text, position);
  if (match.length > 0) return match;
  const std::size_t length = code_point_at(text, position).length;
  return {length, text.substr(position, length)};
}

std::string Unigram::normalize_metaspace(std::string_view text) const {
  std::string out;
  for (std::size_t i = 0; i < text.size();) {
    const CharacterMap::Match match = mapped(text, i);
    append_part(out, match.replacement);
    i += match.length;
  }
  return space_rule_ == SpaceRule::metaspace_always ? join_words(out, add_space_prefix_)
                                                    : join_spaces(out, add_space_prefix_);
}

std::string Unigram::normalize(std::string_view text) const {
  if (space_rule_ != SpaceRule::every_segment) return normalize_metaspace(text);
  std::string out;
  if (text.empty()) return out;
  out.reserve(text.size() + text.size() / 2);
  std::size_t i = 0;
  const bool remove = remove_extra_spaces_;
  while (remove && i < text.size()) {
    const CharacterMap::Match match = mapped(text, i);
    if (match.replacement != " ") break;
    i += match.length;
  }
  if (i == text.size()) return out;
  if (add_space_prefix_) out += kSpaceSymbol;
  bool behind_space = remove;
  while (i < text.size()) {
    const CharacterMap::Match match = mapped(text, i);
    std::string_view part = match.replacement;
    while (behind_space && part.starts_with(' ')) part.remove_prefix(1);
    for (const char c : part) {
      if (c == ' ') {
        out += kSpaceSymbol;
      } else {
        out += c;
      }
    }
    if (!part.empty()) behind_space = remove && part.ends_with(' ');
    i += match.length;
    ESP_CHECK(out.size() <= kMaxBytes, input, "text of ", text.size(), " bytes grows beyond ",
              kMaxBytes, " by the tokenizer's character map");
  }
  while (remove && out.ends_with(kSpaceSymbol)) out.resize(out.size() - kSpaceSymbol.size());
  return out;
}

void Unigram::segment(std::string_view text, std::vector<Node>& nodes) const {
  const float unknown = least_ - kUnknownPenalty;
  const auto offer = [&](Node& node, double exact, std::int32_t id, std::size_t start) {
    const double sum = sums_.single ? static_cast<double>(static_cast<float>(exact)) : exact;
    if (node.id >= 0 && sum <= node.sum) return;
    node = {sum, id, static_cast<std::uint32_t>(start)};
  };
  for (std::size_t start = 0; start < text.size();) {
    const std::size_t code_point = code_point_at(text, start).length;
    const double here = nodes[start].sum;
    bool single = false;
    pieces_.prefixes(text, start, [&](std::size_t length, std::int32_t id) {
      const auto index = static_cast<std::size_t>(id);
      const float score =
          is_user_defined_[index]
              ? static_cast<float>(static_cast<float>(length) * greatest_ - kUserDefinedPenalty)
              : scores_[index];
      offer(nodes[start + length], static_cast<double>(score) + here, id, start);
      single |= length == code_point;
    });
    if (!single)
      offer(nodes[start + code_point], static_cast<double>(unknown) + here, unknown_, start);
    start += code_point;
  }
}

void Unigram::encode(std::string_view text, std::vector<std::int32_t>& ids) const {
  if (text.empty()) return;
  std::vector<Node> nodes(text.size() + 1);
  segment(text, nodes);
  const std::size_t before = ids.size();
  bool behind_unknown = false;  // backwards
  for (std::size_t end = text.size(); end > 0;) {
    const Node& node = nodes[end];
    const bool unknown = node.id == unknown_;
    if (unknown && byte_ids_[0] >= 0) {
      for (std::size_t i = end; i-- > node.start;)
        ids.push_back(byte_ids_[static_cast<unsigned char>(text[i])]);
    } else if (!(unknown && behind_unknown)) {
      ids.push_back(node.id);
    }
    behind_unknown = unknown;
    end = node.start;
  }
  std::reverse(ids.begin() + static_cast<std::ptrdiff_t>(before), ids.end());
}

}  // namespace espalier::text
