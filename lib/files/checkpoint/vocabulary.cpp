// SPDX-License-Identifier: Apache-2.0
// Cuts tokens, merges and token ids, and checks that every kept token can still be reached.
#include "checkpoint/vocabulary.h"

#include <algorithm>
#include <string_view>
#include <unordered_map>
#include <unordered_set>

#include "checkpoint/vocabulary_files.h"
#include "core/error.h"
#include "text/merge_chain.h"
#include "text/vocabulary.h"

namespace espalier::checkpoint {
namespace {

using Names = std::unordered_set<std::string_view>;
using Indices = std::vector<std::int64_t>;

// The merges among kept tokens. Merges have been checked: "left right".
std::vector<std::string> cut_merges(const text::TokenizerData& data, const Names& kept) {
  std::vector<std::string> out;
  std::string result;
  for (const std::string& merge : data.merges) {
    const std::size_t space = merge.find(' ', 1);  // a token is never empty
    const std::string_view left = std::string_view(merge).substr(0, space),
                           right = std::string_view(merge).substr(space + 1);
    result.assign(left).append(right);
    if (kept.contains(left) && kept.contains(right) && kept.contains(result)) out.push_back(merge);
  }
  return out;
}

void require_needed(const text::TokenizerData& data, const Indices& keep) {
  for (std::size_t i = 0; i < data.tokens.size(); ++i)
    ESP_CHECK(!is_always_kept(data, i) || new_id(static_cast<std::int64_t>(i), keep), input,
              "token ", i, " \"", data.tokens[i],
              "\" is a byte or a special token and must be kept");
}

// A kept token that merging makes must still be made, of the tokens it was made of.
void require_chains(const text::TokenizerData& data, const Indices& keep) {
  const text::TokenIds ids = text::index_tokens(data, "tokenizer");
  text::MergeChains chains(data, ids);
  for (const std::int64_t id : keep) {
    if (id >= static_cast<std::int64_t>(data.tokens.size())) break;
    for (const std::int32_t part : chains.of(static_cast<std::int32_t>(id)))
      ESP_CHECK(new_id(part, keep), input, "the kept token \"", ids.text(static_cast<int>(id)),
                "\" is merged from \"", ids.text(part), "\", which is not kept");
  }
}

// Everything but the files.
text::TokenizerData cut_parts(const text::TokenizerData& data, const Indices& keep) {
  text::TokenizerData out;
  static_cast<text::TokenizerSettings&>(out) = data;
  out.charsmap = data.charsmap;
  out.hf_named_templates = data.hf_named_templates;
  Names kept;
  for (const std::int64_t id : keep) {
    const auto i = static_cast<std::size_t>(id);
    if (i >= data.tokens.size()) break;
    out.tokens.push_back(data.tokens[i]);
    out.types.push_back(data.types[i]);
    if (!data.scores.empty()) out.scores.push_back(data.scores[i]);
    kept.insert(data.tokens[i]);
  }
  if (data.kind == text::TokenizerKind::byte_bpe) out.merges = cut_merges(data, kept);
  out.rules.clear();
  for (text::AddedRule rule : data.rules) {
    const std::optional<std::int64_t> moved = new_id(rule.id, keep);
    if (!moved) continue;
    rule.id = static_cast<std::int32_t>(*moved);
    out.rules.push_back(rule);
  }
  return out;
}

void move_special(const Indices& keep, text::TokenizerData& data) {
  const auto move = [&](std::optional<std::int32_t>& id, const char* what) {
    if (!id) return;
    const std::optional<std::int64_t> moved = new_id(*id, keep);
    ESP_CHECK(moved, input, what, " token ", *id, " must be kept");
    id = static_cast<std::int32_t>(*moved);
  };
  move(data.bos, "the BOS");
  move(data.eos, "the EOS");
  move(data.unk, "the unknown");
  move(data.pad, "the padding");
}

}  // namespace

std::optional<std::int64_t> new_id(std::int64_t id, const Indices& keep) {
  const auto it = std::lower_bound(keep.begin(), keep.end(), id);
  if (it == keep.end() || *it != id) return std::nullopt;
  return it - keep.begin();
}

bool is_always_kept(const text::TokenizerData& data, std::size_t id) {
  if (data.types[id] != text::TokenType::normal && data.types[id] != text::TokenType::unused)
    return true;
  return data.kind == text::TokenizerKind::byte_bpe &&
         text::count_code_points(data.tokens[id]) == 1;  // the byte alphabet
}

text::TokenizerData cut_tokenizer(const text::TokenizerData& data, const Indices& keep) {
  require_needed(data, keep);
  require_chains(data, keep);
  text::TokenizerData out = cut_parts(data, keep);
  move_special(keep, out);
  cut_files(data, keep, out);
  return out;
}

std::optional<Indices> ids_of_part(const text::TokenizerData& whole,
                                   const text::TokenizerData& part) {
  if (whole.kind != part.kind || part.tokens.size() >= whole.tokens.size()) return std::nullopt;
  std::unordered_map<std::string_view, std::int64_t> ids;
  for (std::size_t i = 0; i < whole.tokens.size(); ++i)
    ids.emplace(whole.tokens[i], static_cast<std::int64_t>(i));
  Indices keep;
  for (const std::string& token : part.tokens) {
    const auto found = ids.find(token);
    if (found == ids.end() || (!keep.empty() && found->second <= keep.back())) return std::nullopt;
    keep.push_back(found->second);
  }
  if (!text::same_vocabulary(cut_parts(whole, keep), part)) return std::nullopt;
  return keep;
}

}  // namespace espalier::checkpoint
