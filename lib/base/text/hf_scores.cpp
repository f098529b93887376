// SPDX-License-Identifier: Apache-2.0
// Scores that rank tokens like the merge list of a tokenizer.json. Scores can express a list that
// is grouped by the resulting token and has every split of each such token. Converters make such
// lists of a SentencePiece model whose scores differ.
//
// Where scores are equal, converters order merges by the lengths of the left and the right part,
// longest first. Such a stretch is understood when all its tokens are runs of one character
// (Gemma's "\n\n", "\n\n\n", ...). In a run of text that is being merged, no token is then longer
// than the token to its left. So the leftmost pair that merges, which equal scores prefer, is one
// with the longest left part.
#include <cstdint>
#include <unordered_set>
#include <utility>

#include "core/error.h"
#include "text/hf_files.h"
#include "text/utf8.h"
#include "text/vocabulary.h"

namespace espalier::text {
namespace {

std::uint64_t pair_of(const Merge& merge) {
  return (static_cast<std::uint64_t>(merge.left) << 32) | static_cast<std::uint32_t>(merge.right);
}

class Scoring {
 public:
  Scoring(const std::vector<Merge>& merges, const std::string& where, TokenizerData& data)
      : merges_(merges), where_(where), data_(data), ranked_(data.tokens.size(), false) {
    data_.scores.assign(data_.tokens.size(), 0.0f);
  }

  // The k-th token made gets the score -k. The other tokens follow by id.
  void score(const std::vector<bool>& merged) {
    std::size_t strict_until = 0;
    for (std::size_t i = 0; i < merges_.size();) {
      if (i >= strict_until) {
        const std::size_t end = end_of_runs(i);
        if (interleaved(i, end)) {
          check_runs(i, end);
          for (std::size_t k = i; k < end; ++k) rank(k);
          --next_;
          i = end;
          continue;
        }
        strict_until = end;
      }
      const std::int32_t result = merges_[i].result;
      ESP_CHECK(!ranked_[index(result)], unsupported, where_, "[", i, "] makes ", name(result),
                " again after other tokens; only merge lists that scores can express are supported "
                "with byte_fallback");
      rank(i);
      --next_;
      while (i < merges_.size() && merges_[i].result == result) ++i;
    }
    made_ = ranked_;
    for (std::size_t i = 0; i < data_.tokens.size(); ++i) {
      if (merged[i] && !ranked_[i]) data_.scores[i] = static_cast<float>(next_--);
    }
  }

  const std::vector<bool>& made() const { return made_; }
  std::string name(std::int32_t id) const { return shown(data_.tokens[index(id)]); }

 private:
  static std::size_t index(std::int32_t id) { return static_cast<std::size_t>(id); }

  void rank(std::size_t i) {
    ranked_[index(merges_[i].result)] = true;
    data_.scores[index(merges_[i].result)] = static_cast<float>(next_);
  }

  bool is_run(std::int32_t id) const {
    const std::string_view token = data_.tokens[index(id)];
    const std::size_t length = code_point_at(token, 0).length;
    for (std::size_t i = length; i < token.size(); i += length) {
      if (token.substr(i, length) != token.substr(0, length)) return false;
    }
    return true;
  }

  // The first merge at or after `i` whose result is not a run.
  std::size_t end_of_runs(std::size_t i) const {
    while (i < merges_.size() && is_run(merges_[i].result)) ++i;
    return i;
  }

  bool interleaved(std::size_t begin, std::size_t end) const {
    std::unordered_set<std::int32_t> seen;
    for (std::size_t i = begin; i < end; ++i) {
      if (i > begin && merges_[i].result == merges_[i - 1].result) continue;
      if (!seen.insert(merges_[i].result).second) return true;
    }
    return false;
  }

  void check_runs(std::size_t begin, std::size_t end) const {
    std::pair<std::size_t, std::size_t> last(SIZE_MAX, SIZE_MAX);
    for (std::size_t i = begin; i < end; ++i) {
      const std::string_view token = data_.tokens[index(merges_[i].result)];
      const std::size_t unit = code_point_at(token, 0).length;
      const std::pair lengths(data_.tokens[index(merges_[i].left)].size() / unit,
                              data_.tokens[index(merges_[i].right)].size() / unit);
      ESP_CHECK(lengths <= last && !ranked_[index(merges_[i].result)], unsupported, where_, "[", i,
                "] makes ", name(merges_[i].result),
                " again after other tokens, and not in the order of equal scores");
      last = lengths;
    }
  }

  const std::vector<Merge>& merges_;
  const std::string& where_;
  TokenizerData& data_;
  std::vector<bool> ranked_, made_;
  std::int64_t next_ = 0;
};

}  // namespace

void scores_from_merges(const std::vector<std::string>& texts, const std::string& where,
                        TokenizerData& data) {
  // resolve_merges() reads data.merges, which stays empty for spm.
  TokenizerData merge_data;
  merge_data.tokens = data.tokens;
  merge_data.merges = texts;
  const TokenIds ids = index_tokens(merge_data, where);
  const std::vector<bool> merged = merged_tokens(data);
  std::vector<Merge> merges;
  std::unordered_set<std::uint64_t> listed;
  const auto at = [](std::int32_t id) { return static_cast<std::size_t>(id); };
  const std::vector<Merge> all = resolve_merges(merge_data, ids, where);
  for (std::size_t i = 0; i < all.size(); ++i) {
    const Merge& merge = all[i];
    // Added tokens are found before anything merges. So no merge makes one, and no merge uses one.
    // (Where control tokens stay text, merging does not make them either.)
    const auto found_before = [&](std::int32_t id) {
      const TokenType type = data.types[at(id)];
      return !merged[at(id)] && (type == TokenType::user_defined || type == TokenType::control ||
                                 type == TokenType::unknown);
    };
    if (found_before(merge.left) || found_before(merge.right) || found_before(merge.result))
      continue;
    ESP_CHECK(merged[at(merge.result)], unsupported, where, "[", i, "] makes ",
              shown(data.tokens[at(merge.result)]), ", which is not an ordinary token");
    listed.insert(pair_of(merge));
    merges.push_back(merge);
  }
  Scoring scoring(merges, where, data);
  scoring.score(merged);
  const std::vector<Merge> implied = merges_from_scores(data, ids);
  for (const Merge& merge : implied) {
    const std::size_t result = at(merge.result);
    if (scoring.made()[result]) continue;
    // The token could be made, but no merge makes it.
    ESP_CHECK(data.types[result] != TokenType::user_defined, unsupported, where, " does not make ",
              scoring.name(merge.result),
              ", an added token with U+2581 that could be made of others");
    data.types[result] = TokenType::unused;
  }
  const auto unused = [&](std::int32_t id) { return data.types[at(id)] == TokenType::unused; };
  for (const Merge& merge : implied) {
    if (unused(merge.left) || unused(merge.right) || unused(merge.result)) continue;
    ESP_CHECK(listed.count(pair_of(merge)) != 0, unsupported, where, " makes ",
              scoring.name(merge.result), ", but not of ", scoring.name(merge.left), " and ",
              scoring.name(merge.right),
              "; only merge lists that scores can express are supported with byte_fallback");
  }
}

}  // namespace espalier::text
