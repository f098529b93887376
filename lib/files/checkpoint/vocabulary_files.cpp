// SPDX-License-Identifier: Apache-2.0
// Rewrites the files of a tokenizer. They have been read as this tokenizer, so their structure is
// known to be sound.
#include "checkpoint/vocabulary_files.h"

#include <charconv>
#include <nlohmann/json.hpp>
#include <string>
#include <unordered_set>

#include "checkpoint/vocabulary.h"
#include "core/error.h"
#include "format/json_input.h"
#include "text/hf_files.h"
#include "text/wire_reader.h"

namespace espalier::checkpoint {
namespace {

// Sorted: of an ordered one, every insertion into a vocabulary looks at all entries before.
using SortedJson = nlohmann::json;
using Json = nlohmann::ordered_json;
using Indices = std::vector<std::int64_t>;

std::int64_t moved_id(const SortedJson& id, const Indices& keep, const char* what) {
  ESP_CHECK(id.is_number_integer(), input, "tokenizer.json: ", what, " has ", id.type_name(),
            " for a token id");
  const std::optional<std::int64_t> out = new_id(id.get<std::int64_t>(), keep);
  ESP_CHECK(out, input, "tokenizer.json: ", what, " names token ", id.dump(),
            ", which must be kept");
  return *out;
}

// By text, or for unigram in the order of ids.
SortedJson cut_vocabulary(const SortedJson& vocabulary, const Indices& keep) {
  if (vocabulary.is_array()) {
    SortedJson pieces = SortedJson::array();
    for (const std::int64_t id : keep)
      if (static_cast<std::size_t>(id) < vocabulary.size())
        pieces.push_back(vocabulary[static_cast<std::size_t>(id)]);
    return pieces;
  }
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
  if (model.contains("merges")) model["merges"] = cut_merge_list(model["merges"], kept);
  if (model.contains("unk_id")) model["unk_id"] = moved_id(model["unk_id"], keep, "model.unk_id");
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

void cut_tokenizer_config(Json& config, const Indices& keep) {
  const auto decoder = config.find("added_tokens_decoder");
  if (decoder == config.end() || !decoder->is_object()) return;
  Json out = Json::object();
  for (const auto& [key, token] : decoder->items()) {
    std::int64_t id = -1;
    std::from_chars(key.data(), key.data() + key.size(), id);
    if (const auto place = new_id(id, keep)) out[std::to_string(*place)] = token;
  }
  *decoder = std::move(out);
}

// The message without the pieces (field 1, in the order of ids) that are not kept.
std::string cut_sentencepiece(const std::string& model, const Indices& keep) {
  struct Span {
    std::size_t begin;
    bool kept;
  };
  std::vector<Span> fields;
  text::WireReader reader(model, "tokenizer.model");
  std::int64_t piece = 0;
  for (text::WireField field; reader.next(field);)
    fields.push_back({field.offset, field.number != 1 || new_id(piece++, keep).has_value()});
  fields.push_back({model.size(), false});
  std::string out;
  for (std::size_t i = 0; i + 1 < fields.size(); ++i)
    if (fields[i].kept) out.append(model, fields[i].begin, fields[i + 1].begin - fields[i].begin);
  return out;
}

}  // namespace

void cut_files(const text::TokenizerData& data, const Indices& keep, text::TokenizerData& out) {
  const bool json = !data.hf_tokenizer_json.empty();
  if (json)
    out.hf_tokenizer_json = cut_tokenizer_json(data.hf_tokenizer_json, keep, out);
  else if (!data.hf_tokenizer_model.empty() && !text::has_tokenizer_json(out))
    out.hf_tokenizer_model = cut_sentencepiece(data.hf_tokenizer_model, keep);
  else
    return;
  out.hf_special_tokens_map = data.hf_special_tokens_map;
  if (!json && data.hf_tokenizer_config.empty()) return;
  Json config = data.hf_tokenizer_config.empty()
                    ? Json::object()
                    : format::parse_json<Json>(data.hf_tokenizer_config, "tokenizer_config.json");
  cut_tokenizer_config(config, keep);
  if (json) {
    // A class named after a model may take its own pre-tokenizer instead of the file's.
    config["tokenizer_class"] = "PreTrainedTokenizerFast";
    config.erase("auto_map");
  }
  out.hf_tokenizer_config = config.dump(2) + "\n";
}

}  // namespace espalier::checkpoint
