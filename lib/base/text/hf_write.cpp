// SPDX-License-Identifier: Apache-2.0
// TokenizerData -> Hugging Face tokenizer files. Vocabulary and merges are written entry by entry,
// in id and rank order. The small parts around them are JSON values.
#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/file.h"
#include "text/hf_files.h"
#include "text/hf_unigram.h"
#include "text/pretokenizer.h"
#include "text/sentencepiece_model.h"
#include "text/vocabulary.h"

namespace espalier::text {
namespace {

using Ordered = nlohmann::ordered_json;

const std::string& token_text(const TokenizerData& data, std::int32_t id) {
  return data.tokens[static_cast<std::size_t>(id)];
}

AddedRule rule_for(const TokenizerData& data, std::int32_t id) {
  for (const AddedRule& rule : data.rules) {
    if (rule.id == id) return rule;
  }
  return {.id = id};
}

bool is_added(TokenType type) {
  return type == TokenType::control || type == TokenType::user_defined ||
         type == TokenType::unknown;
}

Ordered added_token(const TokenizerData& data, std::int32_t id) {
  const AddedRule rule = rule_for(data, id);
  ESP_CHECK(!rule.bare || !data.add_space_prefix || data.kind == TokenizerKind::unigram,
            unsupported, "token ", id, " (", shown(token_text(data, id)),
            ") is a user-defined piece of SentencePiece, and a space is put in front of text: "
            "tokenizer.json has no way to say both");
  return {{"content", token_text(data, id)},
          {"single_word", false},
          {"lstrip", rule.lstrip},
          {"rstrip", rule.rstrip},
          {"normalized", rule.normalized},
          {"special", data.types[static_cast<std::size_t>(id)] != TokenType::user_defined}};
}

std::vector<std::int32_t> added_ids(const TokenizerData& data) {
  std::vector<std::int32_t> ids;
  for (std::size_t i = 0; i < data.tokens.size(); ++i) {
    if (is_added(data.types[i])) ids.push_back(static_cast<std::int32_t>(i));
  }
  return ids;
}

Ordered byte_level(bool use_regex) {
  return {{"type", "ByteLevel"},
          {"add_prefix_space", false},
          {"trim_offsets", true},
          {"use_regex", use_regex}};
}

Ordered replace(std::string_view from, std::string_view to) {
  return {{"type", "Replace"}, {"pattern", {{"String", from}}}, {"content", to}};
}

Ordered normalizer(const TokenizerData& data) {
  if (data.kind == TokenizerKind::byte_bpe)
    return data.nfc ? Ordered{{"type", "NFC"}} : Ordered(nullptr);
  if (data.kind == TokenizerKind::unigram) return unigram_normalizer(data);
  if (data.add_space_prefix && data.space_rule != SpaceRule::every_segment) return nullptr;
  if (!data.add_space_prefix) return replace(" ", kSpaceSymbol);
  const Ordered prepend = {{"type", "Prepend"}, {"prepend", kSpaceSymbol}};
  return {{"type", "Sequence"},
          {"normalizers", Ordered::array({prepend, replace(" ", kSpaceSymbol)})}};
}

Ordered pre_tokenizer(const TokenizerData& data) {
  if (data.kind == TokenizerKind::unigram) return unigram_pre_tokenizer(data);
  if (data.kind == TokenizerKind::spm) {
    if (!data.add_space_prefix || data.space_rule == SpaceRule::every_segment) return nullptr;
    const char* scheme = data.space_rule == SpaceRule::metaspace_first ? "first" : "always";
    return {{"type", "Metaspace"},
            {"replacement", kSpaceSymbol},
            {"prepend_scheme", scheme},
            {"split", false}};
  }
  const PreSpec& spec = *find_pre_spec(data.pre);
  Ordered first;
  if (spec.splits_digits) {
    first = {{"type", "Digits"}, {"individual_digits", true}};
  } else if (!spec.hf_pattern.empty()) {
    first = {{"type", "Split"},
             {"pattern", {{"Regex", spec.hf_pattern}}},
             {"behavior", "Isolated"},
             {"invert", false}};
  } else {
    return byte_level(true);
  }
  return {{"type", "Sequence"},
          {"pretokenizers", Ordered::array({first, byte_level(spec.hf_pattern.empty())})}};
}

Ordered post_processor(const TokenizerData& data) {
  const Ordered text_a = {{"Sequence", {{"id", "A"}, {"type_id", 0}}}},
                text_b = {{"Sequence", {{"id", "B"}, {"type_id", 1}}}};
  Ordered single = Ordered::array(), pair = Ordered::array(), special = Ordered::object();
  const auto add = [&](std::int32_t id, int type_id, Ordered& to) {
    const std::string& text = token_text(data, id);
    special[text] = {
        {"id", text}, {"ids", Ordered::array({id})}, {"tokens", Ordered::array({text})}};
    to.push_back({{"SpecialToken", {{"id", text}, {"type_id", type_id}}}});
  };
  const auto around = [&](const Ordered& text, int type_id, Ordered& to) {
    if (data.add_bos) add(*data.bos, type_id, to);
    to.push_back(text);
    if (data.add_eos) add(*data.eos, type_id, to);
  };
  around(text_a, 0, single);
  around(text_a, 0, pair);
  around(text_b, 1, pair);
  const Ordered processing = {{"type", "TemplateProcessing"},
                              {"single", single},
                              {"pair", pair},
                              {"special_tokens", special}};
  if (data.kind != TokenizerKind::byte_bpe) return processing;
  if (!data.add_bos && !data.add_eos) return byte_level(true);
  return {{"type", "Sequence"}, {"processors", Ordered::array({byte_level(true), processing})}};
}

Ordered decoder(const TokenizerData& data) {
  if (data.kind == TokenizerKind::byte_bpe) return byte_level(true);
  Ordered steps =
      Ordered::array({replace(kSpaceSymbol, " "), {{"type", "ByteFallback"}}, {{"type", "Fuse"}}});
  if (data.add_space_prefix)
    steps.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
  return {{"type", "Sequence"}, {"decoders", steps}};
}

std::string json_string(std::string_view text) { return Ordered(text).dump(); }

// Lines "<indent>item" joined by commas.
class Lines {
 public:
  explicit Lines(std::string& out) : out_(out) {}
  void add(const std::string& item) {
    out_ += empty_ ? "\n      " : ",\n      ";
    out_ += item;
    empty_ = false;
  }

 private:
  std::string& out_;
  bool empty_ = true;
};

void write_model(const TokenizerData& data, std::string& out) {
  const bool spm = data.kind == TokenizerKind::spm;
  const std::string unknown = spm && data.unk ? json_string(token_text(data, *data.unk)) : "null";
  out += "{\n    \"type\": \"BPE\",\n    \"dropout\": null,\n    \"unk_token\": " + unknown +
         ",\n    \"continuing_subword_prefix\": null,\n    \"end_of_word_suffix\": null,\n    "
         "\"fuse_unk\": " +
         (spm ? "true" : "false") + ",\n    \"byte_fallback\": " + (spm ? "true" : "false") +
         ",\n    \"ignore_merges\": " + (data.ignore_merges ? "true" : "false") +
         ",\n    \"vocab\": {";
  Lines vocab(out);
  for (std::size_t i = 0; i < data.tokens.size(); ++i)
    vocab.add(json_string(data.tokens[i]) + ": " + std::to_string(i));
  out += "\n    },\n    \"merges\": [";
  Lines merges(out);
  if (spm) {
    const TokenIds ids = index_tokens(data, "tokenizer");
    for (const Merge& merge : merges_from_scores(data, ids)) {
      merges.add(json_string(token_text(data, merge.left) + " " + token_text(data, merge.right)));
    }
  } else {
    for (const std::string& merge : data.merges) merges.add(json_string(merge));
  }
  out += "\n    ]\n  }";
}

std::string tokenizer_json(const TokenizerData& data) {
  Ordered added = Ordered::array();
  for (const std::int32_t id : added_ids(data)) {
    Ordered entry = {{"id", id}};
    entry.update(added_token(data, id));
    added.push_back(std::move(entry));
  }
  std::string out = "{\n  \"version\": \"1.0\",\n  \"truncation\": null,\n  \"padding\": null";
  const auto part = [&out](const char* key, const Ordered& value) {
    out += std::string(",\n  \"") + key + "\": " + value.dump();
  };
  part("added_tokens", added);
  part("normalizer", normalizer(data));
  part("pre_tokenizer", pre_tokenizer(data));
  part("post_processor", post_processor(data));
  part("decoder", decoder(data));
  out += ",\n  \"model\": ";
  if (data.kind == TokenizerKind::unigram)
    out += unigram_model(data);
  else
    write_model(data, out);
  out += "\n}\n";
  return out;
}

Ordered named_tokens(const TokenizerData& data) {
  Ordered out = Ordered::object();
  const auto add = [&](const char* key, const std::optional<std::int32_t>& id) {
    if (id) out[key] = token_text(data, *id);
  };
  add("bos_token", data.bos);
  add("eos_token", data.eos);
  add("unk_token", data.unk);
  add("pad_token", data.pad);
  return out;
}

std::string tokenizer_config(const TokenizerData& data, bool beside_model) {
  // The generic class. Classes named after models build their own pre-tokenizer instead of the one
  // in tokenizer.json.
  Ordered out = {{"add_bos_token", data.add_bos}, {"add_eos_token", data.add_eos}};
  Ordered decoder_table = Ordered::object();
  for (const std::int32_t id : added_ids(data)) {
    const AddedRule rule = rule_for(data, id);
    const bool piece = beside_model && (rule.bare || data.types[static_cast<std::size_t>(id)] ==
                                                         TokenType::unknown);
    if (!piece) decoder_table[std::to_string(id)] = added_token(data, id);
  }
  out["added_tokens_decoder"] = decoder_table;
  out.update(named_tokens(data));
  out["clean_up_tokenization_spaces"] = false;
  if (!beside_model) out["tokenizer_class"] = "PreTrainedTokenizerFast";
  if (!data.chat_template.empty()) out["chat_template"] = data.chat_template;
  return out.dump(2) + "\n";
}

// Whether `read` equals `data`, apart from unused tokens at the end (padding up to the rows of an
// embedding).
bool describes(const TokenizerData& read, const TokenizerData& data) {
  if (read.kind != data.kind || read.merges != data.merges ||
      read.tokens.size() > data.tokens.size())
    return false;
  if (read.charsmap != data.charsmap || read.remove_extra_spaces != data.remove_extra_spaces ||
      (read.kind == TokenizerKind::unigram && read.space_rule != data.space_rule))
    return false;
  for (std::size_t i = read.tokens.size(); i < data.tokens.size(); ++i) {
    if (data.types[i] != TokenType::unused) return false;
  }
  return std::equal(read.tokens.begin(), read.tokens.end(), data.tokens.begin());
}

// The text of tokenizer_gguf.json: the fields of `data` that reading the other files does not
// restore. Empty when there are none.
std::string gguf_extra(const TokenizerData& read, const TokenizerData& data) {
  const std::size_t n = read.tokens.size();
  Ordered out = Ordered::object();
  if (read.pre != data.pre) out["pre"] = data.pre;
  if (!std::equal(read.types.begin(), read.types.end(), data.types.begin())) {
    Ordered types = Ordered::array();
    for (std::size_t i = 0; i < n; ++i) types.push_back(static_cast<std::int32_t>(data.types[i]));
    out["types"] = std::move(types);
  }
  if (!std::equal(read.scores.begin(), read.scores.end(), data.scores.begin())) {
    Ordered scores = Ordered::array();
    for (std::size_t i = 0; i < n; ++i) scores.push_back(static_cast<double>(data.scores[i]));
    out["scores"] = std::move(scores);
  }
  return out.empty() ? "" : out.dump() + "\n";
}

}  // namespace

HfFiles build_hf(const TokenizerData& data) {
  HfFiles files{.directory = "tokenizer to be written"};
  const bool model_file = data.kind == TokenizerKind::unigram && !has_unigram_json(data);
  if (model_file) {
    files.vocabulary = HfVocabulary::sentencepiece;
    files.tokenizer_model = build_sentencepiece(data);
  } else {
    files.tokenizer_json = tokenizer_json(data);
  }
  files.tokenizer_config = tokenizer_config(data, model_file);
  files.special_tokens_map = named_tokens(data).dump(2) + "\n";
  return files;
}

bool has_tokenizer_json(const TokenizerData& data) {
  if (data.kind == TokenizerKind::unigram) return has_unigram_json(data);
  try {
    return describes(parse_hf(build_hf(data)), data);
  } catch (const core::Error& error) {
    if (error.kind() != core::ErrorKind::unsupported) throw;
    return false;
  }
}

void tokenizer_to_hf(const TokenizerData& data, const std::string& directory) {
  check_tokenizer(data, "tokenizer to be written to " + directory);
  HfFiles files;
  std::optional<TokenizerData> read;
  if (!data.hf_tokenizer_json.empty() || !data.hf_tokenizer_model.empty()) {
    files = {.directory = directory,
             .vocabulary = data.hf_tokenizer_json.empty() ? HfVocabulary::sentencepiece
                                                          : HfVocabulary::tokenizer_json,
             .tokenizer_json = data.hf_tokenizer_json,
             .tokenizer_model = data.hf_tokenizer_model,
             .tokenizer_config = data.hf_tokenizer_config,
             .special_tokens_map = data.hf_special_tokens_map};
    read = parse_hf(files);
    // The data have changed since the files were read.
    if (!describes(*read, data)) read.reset();
  }
  if (!read) {
    files = build_hf(data);
    read = parse_hf(files);
    ESP_CHECK(describes(*read, data), internal, directory,
              files.tokenizer_json.empty() ? "/tokenizer.model" : "/tokenizer.json",
              " would not describe the tokenizer it is made from");
  }
  // Templates in files of their own hide those of tokenizer_config.json, so all go there or none.
  const bool own_templates = read->chat_template != data.chat_template ||
                             read->hf_named_templates != data.hf_named_templates;
  if (own_templates) files.chat_template = data.chat_template;
  files.gguf_extra = gguf_extra(*read, data);
  const auto write = [&directory](const char* name, const std::string& text) {
    const std::string path = directory + "/" + name;
    std::error_code error;
    if (!text.empty()) {
      core::write_text_file(path, text);
    } else {
      // A file left by another tokenizer would be read together with this one.
      std::filesystem::remove(path, error);
    }
  };
  write("tokenizer.json", files.tokenizer_json);
  write("tokenizer.model", files.tokenizer_model);
  write("added_tokens.json", "");  // the other files contain its tokens
  write("tokenizer_config.json", files.tokenizer_config);
  write("special_tokens_map.json", files.special_tokens_map);
  write("chat_template.jinja", files.chat_template);
  write("tokenizer_gguf.json", files.gguf_extra);
  // They say the same in other words, or are of another tokenizer.
  for (const char* name : {"vocab.json", "merges.txt", "tekken.json", "chat_template.json"})
    write(name, "");
  std::error_code ignored;
  std::filesystem::remove_all(directory + "/additional_chat_templates", ignored);
  if (!own_templates) return;
  for (const auto& [name, source] : data.hf_named_templates)
    core::write_text_file(directory + "/additional_chat_templates/" + name + ".jinja", source);
}

}  // namespace espalier::text
