// SPDX-License-Identifier: Apache-2.0
// Tokens that added_tokens.json, tokenizer_config.json and special_tokens_map.json put beside a
// vocabulary of another file, or name in it.
#include <algorithm>
#include <charconv>

#include "core/error.h"
#include "format/json_input.h"
#include "text/hf_files.h"
#include "text/vocabulary.h"

namespace espalier::text {
namespace {

void collect(const JsonPlace& value, std::vector<NamedToken>& out) {
  const Json& json = value.value();
  if (json.is_string()) {
    if (!value.text().empty()) out.push_back({.content = value.text(), .where = value.where()});
  } else if (json.is_object() && json.contains("content")) {
    out.push_back({.content = value.at("content").text(),
                   .where = value.where(),
                   .lstrip = value.flag("lstrip", false),
                   .rstrip = value.flag("rstrip", false)});
  } else if (json.is_object()) {
    for (const auto& [key, entry] : json.items()) collect(value.at(key.c_str()), out);
  } else if (json.is_array()) {
    for (std::size_t i = 0; i < json.size(); ++i) collect(value.at(i), out);
  }
}

}  // namespace

std::vector<NamedToken> named_tokens(const JsonPlace& config, const JsonPlace& map) {
  std::vector<NamedToken> out;
  for (const JsonPlace* place : {&config, &map})
    for (const auto& [key, value] : place->object().items()) {
      const bool list = key == "additional_special_tokens" || key == "extra_special_tokens";
      const bool one = key.ends_with("_token") && (value.is_string() || value.is_object());
      if (list || one) collect(place->at(key.c_str()), out);
    }
  return out;
}

std::map<std::int64_t, AddedToken> read_added_tokens(const HfFiles& files) {
  std::map<std::int64_t, AddedToken> added;
  if (!files.added_tokens.empty()) {
    const std::string path = files.directory + "/added_tokens.json";
    const Json json = format::parse_json<Json>(files.added_tokens, path);
    const JsonPlace root(json, path + ":");
    for (const auto& [content, id] : root.object().items()) {
      const std::string where = path + ": " + shown(content);
      added[JsonPlace(id, where).integer()] = {
          .content = content, .where = where, .normalized = true};
    }
  }
  if (files.tokenizer_config.empty()) return added;
  const std::string path = files.directory + "/tokenizer_config.json";
  const Json json = format::parse_json<Json>(files.tokenizer_config, path);
  const JsonPlace root(json, path + ":");
  if (!root.has("added_tokens_decoder")) return added;
  for (const auto& [key, value] : root.at("added_tokens_decoder").object().items()) {
    const JsonPlace token(value, path + ": added_tokens_decoder." + key);
    std::int64_t id = -1;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), id);
    ESP_CHECK(error == std::errc() && end == key.data() + key.size(), input, token.where(),
              " is not named by an id");
    ESP_CHECK(!token.flag("single_word", false), unsupported, token.where(),
              " has single_word, which is not supported");
    const bool special = token.flag("special", false);
    added[id] = {.content = token.at("content").text(),
                 .where = token.where(),
                 .special = special,
                 .lstrip = token.flag("lstrip", false),
                 .rstrip = token.flag("rstrip", false),
                 .normalized = token.flag("normalized", !special)};
  }
  return added;
}

void mark_named_tokens(const HfFiles& files, const JsonPlace& config, const JsonPlace& map,
                       const TokenIds& ids, TokenizerData& data) {
  std::map<std::string, AddedToken> named;  // what is said first counts
  for (const NamedToken& token : named_tokens(config, map))
    named.emplace(token.content, AddedToken{.content = token.content,
                                            .where = token.where,
                                            .special = true,
                                            .lstrip = token.lstrip,
                                            .rstrip = token.rstrip});
  if (files.vocabulary == HfVocabulary::tokenizer_json)
    for (const auto& [id, token] : read_added_tokens(files)) named.emplace(token.content, token);
  for (const auto& [content, token] : named) {
    const std::int32_t id = ids.find(content);
    if (id < 0) continue;  // read_config() says so
    const auto index = static_cast<std::size_t>(id);
    if (data.types[index] != TokenType::normal) continue;  // with its own flags
    ESP_CHECK(!token.normalized || data.kind == TokenizerKind::byte_bpe, unsupported, token.where,
              ": ", shown(content),
              " is searched for in normalized text, which is known of tokenizer.json only");
    data.types[index] = token.special ? TokenType::control : TokenType::user_defined;
    const AddedRule rule{.id = id,
                         .lstrip = token.lstrip,
                         .rstrip = token.rstrip,
                         .normalized = data.nfc && token.normalized};
    if (rule.lstrip || rule.rstrip || rule.normalized) data.rules.push_back(rule);
  }
  std::sort(data.rules.begin(), data.rules.end(),
            [](const AddedRule& a, const AddedRule& b) { return a.id < b.id; });
}

}  // namespace espalier::text
