// SPDX-License-Identifier: Apache-2.0
// Cuts tokens, merges and token ids, and checks that every kept token can still be built.
#include "checkpoint/vocabulary.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string_view>
#include <unordered_map>
#include <unordered_set>

#include "core/error.h"
#include "format/json_input.h"

namespace espalier::checkpoint {
namespace {

using Json = nlohmann::ordered_json;
using Names = std::unordered_set<std::string_view>;

std::optional<std::int64_t> new_id(std::int64_t id, const std::vector<std::int64_t>& keep) {
  const auto it = std::lower_bound(keep.begin(), keep.end(), id);
  if (it == keep.end() || *it != id) return std::nullopt;
  return it - keep.begin();
}

std::size_t code_points(std::string_view text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  }));
}

struct Merge {
  std::string_view left, right;
};
Merge split_merge(std::string_view merge) {
  const std::size_t space = merge.find(' ', 1);  // a token is never empty
  ESP_CHECK(space != std::string_view::npos, input, "merge \"", merge, "\" is not \"left right\"");
  return {merge.substr(0, space), merge.substr(space + 1)};
}

// The merges among kept tokens. A kept token that merges could build before must still be buildable
// from kept parts.
std::vector<std::string> cut_merges(const text::TokenizerData& data, const Names& kept) {
  std::vector<std::string> out;
  std::unordered_set<std::string> built;
  std::unordered_map<std::string, std::string_view> lost;  // result -> the part that was cut
  for (const std::string& merge : data.merges) {
    const Merge m = split_merge(merge);
    const std::string result = std::string(m.left) + std::string(m.right);
    if (kept.count(result) == 0) continue;
    if (kept.count(m.left) != 0 && kept.count(m.right) != 0) {
      out.push_back(merge);
      built.insert(result);
    } else {
      lost.emplace(result, kept.count(m.left) == 0 ? m.left : m.right);
    }
  }
  for (const auto& token :
       // In the order of ids, so that the message is always the same.
       data.tokens) {
    const auto it = lost.find(token);
    ESP_CHECK(it == lost.end() || built.count(token) != 0, input, "the kept token \"", token,
              "\" is merged from \"", it->second, "\", which is not kept");
  }
  return out;
}

// SPM merges any two neighbours whose concatenation is a token. A kept token that had such a split
// must still have one.
void check_spm_closure(const text::TokenizerData& data, const Names& all, const Names& kept) {
  for (std::size_t i = 0; i < data.tokens.size(); ++i) {
    const std::string_view token = data.tokens[i];
    if (data.types[i] != text::TokenType::normal || kept.count(token) == 0 ||
        code_points(token) < 2)
      continue;
    bool before = false, after = false;
    for (std::size_t cut = 1; cut < token.size() && !after; ++cut) {
      if ((static_cast<unsigned char>(token[cut]) & 0xC0) == 0x80) continue;
      const std::string_view left = token.substr(0, cut), right = token.substr(cut);
      before = before || (all.count(left) != 0 && all.count(right) != 0);
      after = kept.count(left) != 0 && kept.count(right) != 0;
    }
    ESP_CHECK(!before || after, input, "the kept token \"", token,
              "\" cannot be merged from kept tokens any more");
  }
}

bool required(const text::TokenizerData& data, std::size_t i) {
  if (data.types[i] != text::TokenType::normal && data.types[i] != text::TokenType::unused)
    return true;
  return code_points(data.tokens[i]) == 1 &&
         data.kind == text::TokenizerKind::byte_bpe;  // the byte alphabet
}

}  // namespace

text::TokenizerData cut_tokenizer(const text::TokenizerData& data,
                                  const std::vector<std::int64_t>& keep) {
  text::TokenizerData out = data;
  out.tokens.clear();
  out.types.clear();
  out.scores.clear();
  out.merges.clear();
  out.hf_tokenizer_json.clear();
  out.hf_tokenizer_model.clear();
  out.hf_tokenizer_config.clear();
  out.hf_special_tokens_map.clear();
  const std::int64_t size = static_cast<std::int64_t>(data.tokens.size());
  Names all(data.tokens.begin(), data.tokens.end()), kept;
  for (const std::int64_t id : keep) {
    if (id >= size) continue;
    const std::size_t i = static_cast<std::size_t>(id);
    out.tokens.push_back(data.tokens[i]);
    out.types.push_back(data.types[i]);
    if (!data.scores.empty()) out.scores.push_back(data.scores[i]);
    kept.insert(data.tokens[i]);
  }
  for (std::size_t i = 0; i < data.tokens.size(); ++i)
    ESP_CHECK(!required(data, i) || kept.count(data.tokens[i]) != 0, input, "token ", i, " \"",
              data.tokens[i], "\" is a byte or a special token and must be kept");
  if (data.kind == text::TokenizerKind::byte_bpe)
    out.merges = cut_merges(data, kept);
  else if (data.kind == text::TokenizerKind::spm)
    check_spm_closure(data, all, kept);

  const auto move = [&](std::optional<std::int32_t>& id, const char* what) {
    if (!id) return;
    const std::optional<std::int64_t> moved = new_id(*id, keep);
    ESP_CHECK(moved, input, what, " token ", *id, " must be kept");
    id = static_cast<std::int32_t>(*moved);
  };
  move(out.bos, "the BOS");
  move(out.eos, "the EOS");
  move(out.unk, "the unknown");
  move(out.pad, "the padding");
  return out;
}

std::string remap_token_ids(const std::string& json_text, const std::vector<std::int64_t>& keep,
                            const std::string& where) {
  if (json_text.empty()) return "";
  Json json = format::parse_json<Json>(json_text, where);
  ESP_CHECK(json.is_object(), input, where, ": expected a JSON object");
  for (const char* key :
       {"bos_token_id", "eos_token_id", "pad_token_id", "sep_token_id", "decoder_start_token_id",
        "forced_bos_token_id", "forced_eos_token_id", "suppress_tokens", "begin_suppress_tokens"}) {
    const auto it = json.find(key);
    if (it == json.end()) continue;
    const auto moved = [&](const Json& id) {
      ESP_CHECK(id.is_number_integer(), input, where, ": key \"", key, "\" is not a token id");
      const std::optional<std::int64_t> index = new_id(id.get<std::int64_t>(), keep);
      ESP_CHECK(index, input, where, ": key \"", key, "\": token ", id.dump(), " must be kept");
      return *index;
    };
    if (it->is_array()) {
      for (Json& id : *it) id = moved(id);
    } else if (it->is_number_integer() &&
               it->get<std::int64_t>() >= 0) {  // some configs write -1 for none
      *it = moved(*it);
    }
  }
  return json.dump(2) + "\n";
}

}  // namespace espalier::checkpoint
