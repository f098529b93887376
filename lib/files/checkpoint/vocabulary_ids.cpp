// SPDX-License-Identifier: Apache-2.0
// Token ids in config.json and generation_config.json.
#include <algorithm>
#include <functional>
#include <nlohmann/json.hpp>

#include "checkpoint/vocabulary.h"
#include "core/error.h"
#include "format/json_input.h"

namespace espalier::checkpoint {
namespace {

using Json = nlohmann::ordered_json;

bool names_tokens(std::string_view key) {
  return key.ends_with("_token_id") || key.ends_with("_token_ids");
}
// Lists of tokens, or of sequences of tokens, that are never to be generated.
bool forbids_tokens(std::string_view key) {
  return key == "suppress_tokens" || key == "begin_suppress_tokens" || key == "bad_words_ids";
}
// Lists that mix ids with other numbers, or say what must be generated.
bool is_not_renumbered(std::string_view key) {
  return key == "forced_decoder_ids" || key == "force_words_ids" || key == "sequence_bias" ||
         key == "constraints";
}

Json parse_ids(const std::string& text, const std::string& where) {
  Json json = format::parse_json<Json>(text, where);
  ESP_CHECK(json.is_object(), input, where, ": expected a JSON object");
  return json;
}

// Calls visit(key, id) for every id under a key that names tokens. Some configs write -1 for none.
void visit_named(Json& json, const std::string& where,
                 const std::function<void(const std::string&, Json&)>& visit) {
  for (auto& [key, value] : json.items()) {
    if (value.is_object()) visit_named(value, where, visit);
    if (!names_tokens(key) || value.is_null()) continue;
    const auto one = [&, name = key](Json& id) {
      ESP_CHECK(id.is_number_integer(), input, where, ": key \"", name, "\" is not a token id");
      if (id.get<std::int64_t>() >= 0) visit(name, id);
    };
    if (value.is_array())
      for (Json& id : value) one(id);
    else
      one(value);
  }
}

// False: the token, or a token of the sequence, does not exist any more, so it needs no ban.
bool move_forbidden(Json& entry, const std::vector<std::int64_t>& keep) {
  if (entry.is_array())
    return std::all_of(entry.begin(), entry.end(),
                       [&](Json& id) { return move_forbidden(id, keep); });
  if (!entry.is_number_integer()) return false;
  const std::optional<std::int64_t> moved = new_id(entry.get<std::int64_t>(), keep);
  if (moved) entry = *moved;
  return moved.has_value();
}

void move_lists(Json& json, const std::vector<std::int64_t>& keep, const std::string& where) {
  for (auto& [key, value] : json.items()) {
    if (value.is_object()) move_lists(value, keep, where);
    ESP_CHECK(!is_not_renumbered(key) || value.is_null() || value.empty(), unsupported, where,
              ": key \"", key,
              "\": its token ids cannot be renumbered for a smaller vocabulary; remove it");
    if (!forbids_tokens(key) || !value.is_array()) continue;
    Json left = Json::array();
    for (Json& entry : value)
      if (move_forbidden(entry, keep)) left.push_back(entry);
    value = left.empty() ? Json(nullptr) : std::move(left);
  }
}

}  // namespace

std::vector<std::int64_t> token_ids_of(const std::string& json_text, const std::string& where) {
  std::vector<std::int64_t> out;
  if (json_text.empty()) return out;
  Json json = parse_ids(json_text, where);
  visit_named(json, where, [&](const std::string&, Json& id) { out.push_back(id); });
  return out;
}

std::string remap_token_ids(const std::string& json_text, const std::vector<std::int64_t>& keep,
                            std::int64_t rows, const std::string& where) {
  if (json_text.empty()) return "";
  Json json = parse_ids(json_text, where);
  visit_named(json, where, [&](const std::string& key, Json& id) {
    const std::optional<std::int64_t> moved = new_id(id.get<std::int64_t>(), keep);
    ESP_CHECK(moved || id.get<std::int64_t>() >= rows, input, where, ": key \"", key, "\": token ",
              id.dump(), " must be kept");
    id = moved ? Json(*moved) : Json(nullptr);
  });
  move_lists(json, keep, where);
  return json.dump(2) + "\n";
}

}  // namespace espalier::checkpoint
