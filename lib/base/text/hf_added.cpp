// SPDX-License-Identifier: Apache-2.0
// Tokens that added_tokens.json and tokenizer_config.json put beside a vocabulary of another file.
#include <charconv>

#include "core/error.h"
#include "format/json_input.h"
#include "text/hf_files.h"
#include "text/vocabulary.h"

namespace espalier::text {

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

}  // namespace espalier::text
