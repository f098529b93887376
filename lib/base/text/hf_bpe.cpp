// SPDX-License-Identifier: Apache-2.0
// vocab.json and merges.txt, with the tokens that the small files add -> TokenizerData.
//
// These files say nothing of how text is cut into words: the tokenizer's class does, which
// tokenizer_config.json or config.json names. Of the classes that read such files, those below are
// known; what another one does to text would be a guess.
#include <algorithm>
#include <array>
#include <map>

#include "core/error.h"
#include "format/json_input.h"
#include "text/hf_files.h"
#include "text/token_table.h"
#include "text/vocabulary.h"

namespace espalier::text {
namespace {

constexpr const char* kEndOfText = "<|endoftext|>";

// What a class does, and which tokens it names where the files are silent.
struct BpeClass {
  const char* name;
  const char* pre;
  bool nfc;
  std::array<const char*, 3> model_types;  // config.json's, of models without a tokenizer_class
  std::array<const char*, 3> named;        // keys whose token is <|endoftext|>
};
constexpr std::array kClasses = {
    BpeClass{
        "GPT2Tokenizer", "gpt-2", false, {"gpt2", "", ""}, {"unk_token", "bos_token", "eos_token"}},
    BpeClass{"Qwen2Tokenizer",
             "qwen2",
             true,
             {"qwen2", "qwen3", ""},
             {"unk_token", "eos_token", "pad_token"}},
};

const BpeClass& class_of(const JsonPlace& config, const JsonPlace& model) {
  for (const JsonPlace* place : {&config, &model}) {
    if (!place->has("tokenizer_class")) continue;
    std::string name = place->at("tokenizer_class").text();
    if (name.ends_with("Fast")) name.resize(name.size() - 4);
    for (const BpeClass& known : kClasses)
      if (name == known.name) return known;
    core::fail(core::ErrorKind::unsupported, place->where(), " tokenizer_class is '",
               place->at("tokenizer_class").text(),
               "', and how it cuts text into words does not stand in vocab.json and merges.txt; "
               "known are GPT2Tokenizer and Qwen2Tokenizer. Add tokenizer.json (save_pretrained "
               "writes it)");
  }
  const std::string type = model.text_or("model_type", "");
  for (const BpeClass& known : kClasses)
    for (const char* own : known.model_types)
      if (!type.empty() && type == own) return known;
  core::fail(core::ErrorKind::unsupported, config.where(),
             " tokenizer_class is missing, and vocab.json and merges.txt do not say how text is "
             "cut into words; known are GPT2Tokenizer and Qwen2Tokenizer");
}

std::vector<std::string> read_merges(const std::string& text, const std::string& path) {
  std::vector<std::string> merges;
  std::size_t number = 0;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    std::string line = text.substr(begin, end - begin);
    begin = end + 1;
    ++number;
    if (line.ends_with('\r')) line.pop_back();
    if (line.starts_with("#version") || (line.empty() && begin >= text.size())) continue;
    const std::size_t space = line.find(' ');
    ESP_CHECK(space != std::string::npos && space > 0 && space + 1 < line.size() &&
                  line.find(' ', space + 1) == std::string::npos,
              input, path, ":", number, ": ", shown(line),
              ", expected two tokens with one space between them");
    merges.push_back(std::move(line));
  }
  return merges;
}

// Ordinary tokens of vocab.json become added ones where the small files say so.
void add_tokens(const HfFiles& files, const std::vector<NamedToken>& named,
                const std::map<std::int64_t, AddedToken>& added, TokenTable& table,
                TokenizerData& data) {
  const auto mark = [&](std::size_t index, TokenType type, const AddedRule& flags) {
    data.types[index] = type;
    std::erase_if(data.rules, [&](const AddedRule& rule) { return rule.id == flags.id; });
    if (flags.lstrip || flags.rstrip || flags.normalized) data.rules.push_back(flags);
  };
  for (const auto& [id, token] : added) {
    ESP_CHECK(!token.content.empty(), input, token.where, " has no text");
    const std::size_t index = table.add(id, token.content, token.where);
    mark(index, token.special ? TokenType::control : TokenType::user_defined,
         {.id = static_cast<std::int32_t>(index),
          .lstrip = token.lstrip,
          .rstrip = token.rstrip,
          .normalized = data.nfc && token.normalized});
  }
  table.fill_gaps();
  const TokenIds ids = index_tokens(data, files.directory + "/vocab.json");
  for (const NamedToken& token : named) {
    const std::int32_t id = ids.find(token.content);
    ESP_CHECK(id >= 0, input, token.where, " is ", shown(token.content),
              ", which neither vocab.json nor an added token has");
    const auto index = static_cast<std::size_t>(id);
    if (data.types[index] == TokenType::control)
      continue;  // with the flags of added_tokens_decoder
    mark(index, TokenType::control, {.id = id, .lstrip = token.lstrip, .rstrip = token.rstrip});
  }
  std::sort(data.rules.begin(), data.rules.end(),
            [](const AddedRule& a, const AddedRule& b) { return a.id < b.id; });
}

}  // namespace

TokenizerData parse_hf_bpe(const HfFiles& files) {
  const std::string path = files.directory + "/vocab.json",
                    config_path = files.directory + "/tokenizer_config.json",
                    map_path = files.directory + "/special_tokens_map.json",
                    model_path = files.directory + "/config.json";
  const Json config_json = parse_if_present(files.tokenizer_config, config_path),
             map_json = parse_if_present(files.special_tokens_map, map_path),
             model_json = parse_if_present(files.model_config, model_path);
  const JsonPlace config(config_json, config_path + ":"), map(map_json, map_path + ":");
  const BpeClass& known = class_of(config, JsonPlace(model_json, model_path + ":"));
  ESP_CHECK(!config.flag("add_prefix_space", false), unsupported, config.where(),
            " add_prefix_space puts a space before the text, which is not supported for "
            "byte-level BPE");
  TokenizerData data;
  data.kind = TokenizerKind::byte_bpe;
  data.pre = known.pre;
  data.nfc = known.nfc;
  data.add_space_prefix = false;

  const Json json = format::parse_json<Json>(files.vocab_json, path);
  const JsonPlace vocab(json, path);
  std::map<std::int64_t, AddedToken> added = read_added_tokens(files);
  TokenTable table(data, vocab.object().size() + added.size());
  for (const auto& [token, id] : vocab.object().items()) {
    ESP_CHECK(!token.empty(), input, path, ": a token is empty");
    data.types[table.add(JsonPlace(id, path + ": " + shown(token)).integer(), token, path)] =
        TokenType::normal;
  }
  std::vector<NamedToken> named = named_tokens(config, map);
  HfDefaults defaults;
  for (const char* key : known.named) {
    const bool silent = !config.value().contains(key) && !map.value().contains(key);
    const bool there = vocab.value().contains(kEndOfText) ||
                       std::any_of(added.begin(), added.end(),
                                   [](const auto& a) { return a.second.content == kEndOfText; });
    if (!silent || !there) continue;
    defaults.named[key] = kEndOfText;
    named.push_back({.content = kEndOfText, .where = path});
  }
  add_tokens(files, named, added, table, data);
  data.merges = read_merges(files.merges_txt, files.directory + "/merges.txt");
  read_config(files, nullptr, defaults, data);
  apply_extra(files, data);
  check_tokenizer(data, path);
  return data;
}

}  // namespace espalier::text
