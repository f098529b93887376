// SPDX-License-Identifier: Apache-2.0
// Reads the small files beside a vocabulary. tokenizer_config.json and special_tokens_map.json hold
// named tokens, BOS and EOS around a text, and the chat template. tokenizer_gguf.json holds what
// came from a GGUF.
#include <algorithm>
#include <set>

#include "core/error.h"
#include "core/notes.h"
#include "format/json_input.h"
#include "text/hf_files.h"
#include "text/vocabulary.h"

namespace espalier::text {
namespace {

// "<s>" or {"content": "<s>", ...}; empty when absent.
std::string named_token(const JsonPlace& root, const char* key) {
  if (!root.has(key)) return "";
  const JsonPlace value = root.at(key);
  return value.value().is_string() ? value.text() : value.at("content").text();
}

// A name of a template as a file can have it.
std::string file_name_of(std::string name) {
  for (char& c : name)
    if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'))) c = '_';
  return name;
}

// The default template. Others go to `named`.
std::string chat_template_of(const JsonPlace& config, NamedTemplates& named) {
  if (!config.has("chat_template")) return "";
  const JsonPlace value = config.at("chat_template");
  if (value.value().is_string()) return value.text();
  std::string out;
  if (value.value().is_object()) {
    for (const auto& [name, source] : value.value().items()) {
      const std::string text = value.at(name.c_str()).text();
      if (name == "default")
        out = text;
      else
        named.emplace_back(file_name_of(name), text);
    }
    return out;
  }
  value.array();
  for (std::size_t i = 0; i < value.size(); ++i) {
    const std::string name = value.at(i).at("name").text();
    if (name == "default")
      out = value.at(i).at("template").text();
    else
      named.emplace_back(file_name_of(name), value.at(i).at("template").text());
  }
  return out;
}

// chat_template.json is for processors of other kinds, and is read where nothing else says it.
std::string old_template_of(const HfFiles& files, NamedTemplates& named) {
  if (files.old_chat_template.empty()) return "";
  const std::string path = files.directory + "/chat_template.json";
  const Json json = format::parse_json<Json>(files.old_chat_template, path);
  return chat_template_of(JsonPlace(json, path + ":"), named);
}

// Says which of several different templates is read.
void note_other_templates(const HfFiles& files, const std::string& stated,
                          const NamedTemplates& others, const TokenizerData& data) {
  const auto note = [&](const char* used, const char* other) {
    core::note(files.directory + ": " + used + " and " + other +
               " hold different chat templates; that of " + used + " is read, as in transformers");
  };
  const char* const used =
      files.chat_template.empty() ? "tokenizer_config.json" : "chat_template.jinja";
  if (!files.chat_template.empty() && !stated.empty() && stated != data.chat_template)
    note(used, "tokenizer_config.json");
  const Json old = Json::parse(files.old_chat_template, nullptr, false);
  if (old.is_object() && old.contains("chat_template") && old["chat_template"].is_string() &&
      old["chat_template"].get<std::string>() != data.chat_template)
    note(used, "chat_template.json");
  for (const auto& [name, source] : others)
    if (std::find(data.hf_named_templates.begin(), data.hf_named_templates.end(),
                  std::pair(name, source)) == data.hf_named_templates.end())
      core::note(files.directory + ": the chat template '" + name +
                 "' of tokenizer_config.json is not read, because there are files with chat "
                 "templates, as in transformers");
}

// From the newest place of several: files of their own, tokenizer_config.json, chat_template.json.
void read_templates(const HfFiles& files, const JsonPlace& config, TokenizerData& data) {
  NamedTemplates named = files.named_templates, others;
  const bool own_files = !files.chat_template.empty() || !named.empty();
  const std::string stated = chat_template_of(config, own_files ? others : named);
  data.chat_template = files.chat_template.empty() ? stated : files.chat_template;
  const bool old = data.chat_template.empty();
  if (old) data.chat_template = old_template_of(files, named);
  std::sort(named.begin(), named.end());
  data.hf_named_templates = std::move(named);
  if (!old) note_other_templates(files, stated, others, data);
}

// A flag of tokenizer_config.json that says otherwise than tokenizer.json, which transformers (5.23
// and later) follows.
void note_flag(const JsonPlace& config, const char* flag, bool added, const char* token) {
  if (!config.has(flag) || config.flag(flag, added) == added) return;
  core::note(config.where() + " " + flag + " is " + (added ? "false" : "true") +
             ", but the post_processor of tokenizer.json adds " + (added ? "" : "no ") + token +
             "; it decides, as in transformers");
}

// Whether BOS and EOS surround a text. The post-processor of tokenizer.json decides. Where the
// tokens are of another file, the flags of the configuration do, and `add_bos` where it is silent.
void add_around(const JsonPlace& config, const JsonPlace* root, bool add_bos, TokenizerData& data) {
  if (root == nullptr) {
    data.add_bos = config.flag("add_bos_token", add_bos) && data.bos.has_value();
    data.add_eos = config.flag("add_eos_token", false) && data.eos.has_value();
    return;
  }
  const HfTemplate around = read_post_processor(*root);
  const auto take = [&](const std::optional<std::int32_t>& id, std::optional<std::int32_t>& named,
                        const char* name) {
    if (!id) return false;
    ESP_CHECK(!named || *named == *id, unsupported, root->where(), " post_processor adds token ",
              *id, " where the ", name, " token is ", *named);
    named = id;
    return true;
  };
  data.add_bos = take(around.before, data.bos, "BOS");
  data.add_eos = take(around.after, data.eos, "EOS");
  note_flag(config, "add_bos_token", data.add_bos, "BOS");
  note_flag(config, "add_eos_token", data.add_eos, "EOS");
}

const char* vocabulary_file(HfVocabulary vocabulary) {
  switch (vocabulary) {
    case HfVocabulary::tokenizer_json:
      return "tokenizer.json";
    case HfVocabulary::sentencepiece:
      return "tokenizer.model";
    case HfVocabulary::vocab_and_merges:
      return "vocab.json";
    case HfVocabulary::tekken:
      return "tekken.json";
  }
  return "";
}

// Tokens that are named and that the vocabulary does not have: transformers gives them ids behind
// it, for which a model has no rows. Returns them, but for the padding token.
std::set<std::string> note_absent(const HfFiles& files, const JsonPlace& config,
                                  const JsonPlace& map, const TokenIds& ids) {
  std::set<std::string> out;
  std::string list;
  const auto add = [&](const std::string& content) {
    const bool pad =
        content == named_token(config, "pad_token") || content == named_token(map, "pad_token");
    if (pad || ids.find(content) >= 0 || !out.insert(content).second) return;
    list += (list.empty() ? "" : ", ") + shown(content);
  };
  for (const NamedToken& token : named_tokens(config, map)) add(token.content);
  if (!files.added_tokens.empty() && !config.has("added_tokens_decoder"))
    for (const auto& [id, token] : read_added_tokens(files)) add(token.content);
  if (!list.empty())
    core::note(files.directory + ": the small files beside " + vocabulary_file(files.vocabulary) +
               " name tokens that it does not have: " + list + "; the model is read without them");
  return out;
}

// Settings by which some classes of transformers read texts otherwise than tokenizer.json says.
void note_other_classes(const JsonPlace& config, bool whole, const TokenizerData& data) {
  if (config.has("split_special_tokens") && config.at("split_special_tokens").value() == true)
    core::note(config.where() +
               " split_special_tokens is true: transformers then reads control tokens in texts as "
               "letters, as --text-control-tokens no does");
  if (!whole || data.kind != TokenizerKind::byte_bpe || !config.has("add_prefix_space")) return;
  if (config.at("add_prefix_space").value() != true) return;
  std::string name = config.text_or("tokenizer_class", "");
  if (name.ends_with("Fast")) name.resize(name.size() - 4);
  for (const char* follows : {"", "PreTrainedTokenizer", "TokenizersBackend", "LlamaTokenizer"})
    if (name == follows) return;  // tokenizer.json
  core::fail(core::ErrorKind::unsupported, config.where(),
             " add_prefix_space is true, which the class ", name,
             " follows, but the pre_tokenizer of tokenizer.json adds no space; remove the key if "
             "the model was trained without the space");
}

// transformers would add such tokens after those of tokenizer.json.
void require_known(const JsonPlace& config, const TokenIds& ids, const std::string& absent_pad,
                   const std::string& tokens_file) {
  if (!config.has("added_tokens_decoder")) return;
  for (const auto& [id, token] : config.at("added_tokens_decoder").object().items()) {
    const std::string content =
        JsonPlace(token, config.where() + " added_tokens_decoder." + id).at("content").text();
    ESP_CHECK(ids.find(content) >= 0 || content == absent_pad, unsupported, config.where(),
              " added_tokens_decoder.", id, " is ", shown(content), ", which ", tokens_file,
              " does not have");
  }
}

}  // namespace

void read_config(const HfFiles& files, const JsonPlace* root, const HfDefaults& defaults,
                 TokenizerData& data) {
  const std::string tokens_file = vocabulary_file(files.vocabulary);
  const std::string config_path = files.directory + "/tokenizer_config.json",
                    map_path = files.directory + "/special_tokens_map.json";
  const Json config_json = parse_if_present(files.tokenizer_config, config_path);
  const Json map_json = parse_if_present(files.special_tokens_map, map_path);
  const JsonPlace config(config_json, config_path + ":"), map(map_json, map_path + ":");
  const TokenIds ids = index_tokens(data, files.directory + "/" + tokens_file + ": model.vocab");
  const bool takes_names = files.vocabulary == HfVocabulary::tokenizer_json ||
                           files.vocabulary == HfVocabulary::sentencepiece;
  std::set<std::string> absent;
  std::string absent_pad;
  if (takes_names) {
    mark_named_tokens(files, config, map, ids, data);
    absent = note_absent(files, config, map, ids);
  }
  const auto find = [&](const char* key, std::optional<std::int32_t>& slot) {
    for (const JsonPlace* source : {&config, &map}) {
      const std::string name = named_token(*source, key);
      if (name.empty()) continue;
      const std::int32_t found = ids.find(name);
      if (found < 0 && absent.contains(name) && std::string_view(key) != "bos_token" &&
          std::string_view(key) != "eos_token")
        return;
      // transformers would give it an id behind the vocabulary. No text needs one.
      if (found < 0 && std::string_view(key) == "pad_token") {
        absent_pad = name;
        core::note(source->where() + " pad_token is " + shown(name) + ", which " + tokens_file +
                   " does not have; the model is read without a padding token");
        return;
      }
      ESP_CHECK(found >= 0, input, source->where(), " ", key, " is ", shown(name), ", which ",
                tokens_file, " does not have");
      slot = found;
      return;
    }
    const auto usual = defaults.named.find(key);
    const bool silent = !config.value().contains(key) && !map.value().contains(key);
    if (usual == defaults.named.end() || !silent) return;
    if (const std::int32_t found = ids.find(usual->second); found >= 0) slot = found;
  };
  find("bos_token", data.bos);
  find("eos_token", data.eos);
  find("unk_token", data.unk);
  find("pad_token", data.pad);

  require_known(config, ids, absent_pad, tokens_file);
  note_other_classes(config, root != nullptr, data);
  add_around(config, root, defaults.add_bos, data);
  read_templates(files, config, data);
}

void apply_extra(const HfFiles& files, TokenizerData& data) {
  if (files.gguf_extra.empty()) return;
  const std::string path = files.directory + "/tokenizer_gguf.json";
  const Json json = format::parse_json<Json>(files.gguf_extra, path);
  const JsonPlace root(json, path + ":");
  if (root.has("pre")) data.pre = root.at("pre").text();
  if (root.has("types")) {
    const JsonPlace types = root.at("types");
    data.types.clear();
    for (std::size_t i = 0; i < types.array().size(); ++i) {
      const std::int64_t type = types.at(i).integer();
      ESP_CHECK(type >= 1 && type <= 6, input, types.at(i).where(), " is ", type,
                ", expected 1 to 6");
      data.types.push_back(static_cast<TokenType>(type));
    }
  }
  if (root.has("scores")) {
    const JsonPlace scores = root.at("scores");
    data.scores.clear();
    for (const Json& score : scores.array()) {
      ESP_CHECK(score.is_number(), input, scores.where(), " has an entry that is no number");
      data.scores.push_back(score.get<float>());
    }
  }
  const std::size_t n = data.tokens.size();
  ESP_CHECK(
      data.types.size() == n && (data.kind == TokenizerKind::byte_bpe || data.scores.size() == n),
      input, path, ": ", data.types.size(), " types and ", data.scores.size(), " scores for the ",
      n, " tokens of the vocabulary");
}

}  // namespace espalier::text
