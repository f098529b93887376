// SPDX-License-Identifier: Apache-2.0
// Rewrites the files of a tokenizer. They have been read as this tokenizer, so their structure is
// known to be sound.
#include "checkpoint/vocabulary_files.h"

#include <nlohmann/json.hpp>
#include <string>
#include <unordered_set>

#include "checkpoint/vocabulary.h"
#include "core/error.h"
#include "format/json_input.h"

namespace espalier::checkpoint {
namespace {

// Sorted: of an ordered one, every insertion into a vocabulary looks at all entries before.
using SortedJson = nlohmann::json;
using Json = nlohmann::ordered_json;
using Indices = std::vector<std::int64_t>;

std::int64_t moved_id(const SortedJson& id, const Indices& keep, const char* what) {
  const std::optional<std::int64_t> out = new_id(id.get<std::int64_t>(), keep);
  ESP_CHECK(out, input, "tokenizer.json: ", what, " names token ", id.dump(),
            ", which must be kept");
  return *out;
}

SortedJson cut_vocabulary(const SortedJson& vocabulary, const Indices& keep) {
  SortedJson out = SortedJson::object();
  for (const auto& [token, id] : vocabulary.items())
    if (const auto place = new_id(id.get<std::int64_t>(), keep)) out[token] = *place;
  return out;
}

// An entry is "left right" or [left, right].
SortedJson cut_merge_list(const SortedJson& merges,
                          const std::unordered_set<std::string_view>& kept) {
  SortedJson out = SortedJson::array();
  for (const SortedJson& merge : merges) {
    std::string_view left, right;
    if (merge.is_array()) {
      left = merge[0].get_ref<const std::string&>();
      right = merge[1].get_ref<const std::string&>();
    } else {
      const std::string_view text = merge.get_ref<const std::string&>();
      const std::size_t space = text.find(' ');
      left = text.substr(0, space);
      right = text.substr(space + 1);
    }
    const std::string result = std::string(left).append(right);
    if (kept.contains(left) && kept.contains(right) && kept.contains(result)) out.push_back(merge);
  }
  return out;
}

void move_processor(SortedJson& step, const Indices& keep) {
  if (!step.is_object()) return;
  if (step.contains("processors"))
    for (SortedJson& inner : step["processors"]) move_processor(inner, keep);
  if (!step.contains("special_tokens")) return;
  for (SortedJson& token : step["special_tokens"])
    for (SortedJson& id : token["ids"]) id = moved_id(id, keep, "post_processor");
}

std::string cut_tokenizer_json(const std::string& text, const Indices& keep,
                               const text::TokenizerData& cut) {
  SortedJson json = format::parse_json<SortedJson>(text, "tokenizer.json");
  const std::unordered_set<std::string_view> kept(cut.tokens.begin(), cut.tokens.end());
  SortedJson& model = json["model"];
  model["vocab"] = cut_vocabulary(model["vocab"], keep);
  model["merges"] = cut_merge_list(model["merges"], kept);
  // A byte-level vocabulary has every byte, so that nothing is unknown.
  if (model.contains("unk_token") && model["unk_token"].is_string() &&
      !kept.contains(model["unk_token"].get_ref<const std::string&>()))
    model["unk_token"] = nullptr;
  SortedJson added = SortedJson::array();
  if (json.contains("added_tokens") && json["added_tokens"].is_array())
    for (SortedJson& token : json["added_tokens"])
      if (const auto place = new_id(token["id"].get<std::int64_t>(), keep)) {
        token["id"] = *place;
        added.push_back(std::move(token));
      }
  json["added_tokens"] = std::move(added);
  if (json.contains("post_processor")) move_processor(json["post_processor"], keep);
  if (json.contains("padding") && json["padding"].is_object() && json["padding"].contains("pad_id"))
    json["padding"]["pad_id"] = moved_id(json["padding"]["pad_id"], keep, "padding");
  return json.dump(2) + "\n";
}

std::string cut_tokenizer_config(const std::string& text, const Indices& keep) {
  if (text.empty()) return "";
  Json json = format::parse_json<Json>(text, "tokenizer_config.json");
  const auto decoder = json.find("added_tokens_decoder");
  if (decoder == json.end() || !decoder->is_object()) return text;
  Json out = Json::object();
  for (const auto& [id, token] : decoder->items())
    if (const auto place = new_id(std::stoll(id), keep)) out[std::to_string(*place)] = token;
  *decoder = std::move(out);
  return json.dump(2) + "\n";
}

}  // namespace

void cut_files(const text::TokenizerData& data, const Indices& keep, text::TokenizerData& out) {
  if (data.hf_tokenizer_json.empty()) return;
  out.hf_tokenizer_json = cut_tokenizer_json(data.hf_tokenizer_json, keep, out);
  out.hf_tokenizer_config = cut_tokenizer_config(data.hf_tokenizer_config, keep);
  out.hf_special_tokens_map = data.hf_special_tokens_map;
}

}  // namespace espalier::checkpoint
