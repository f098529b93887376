// SPDX-License-Identifier: Apache-2.0
// Converts between GGUF's tokenizer.* metadata and TokenizerData.
#include <algorithm>
#include <cmath>
#include <limits>
#include <unordered_set>

#include "core/error.h"
#include "text/end_tokens.h"
#include "text/pretokenizer.h"
#include "text/tokenizer.h"
#include "text/utf8.h"
#include "text/vocabulary.h"

namespace espalier::text {
namespace {

using format::GgufArray;
using format::GgufHeader;
using format::GgufType;
using format::GgufValue;

const std::string kPrefix = "tokenizer.ggml.";
// Prefix of our keys for data that GGUF has no key for. Written only when needed.
const std::string kOwn = "espalier.tokenizer.";
const std::string kTemplate = "tokenizer.chat_template";

std::string place(const GgufHeader& header, const std::string& key) {
  return header.path() + ": " + key;
}

std::vector<std::int32_t> integers(const GgufHeader& header, const std::string& key,
                                   const GgufArray& array) {
  ESP_CHECK(array.type != GgufType::string, input, place(header, key),
            " is an array of strings, expected integers");
  std::vector<std::int32_t> out;
  out.reserve(array.numbers.size());
  for (std::size_t i = 0; i < array.numbers.size(); ++i) {
    const double value = array.numbers[i];
    ESP_CHECK(
        std::trunc(value) == value && std::abs(value) <= std::numeric_limits<std::int32_t>::max(),
        input, place(header, key), ": entry ", i, " is ", value, ", expected a small integer");
    out.push_back(static_cast<std::int32_t>(value));
  }
  return out;
}

const std::vector<std::string>& strings(const GgufHeader& header, const std::string& key) {
  const GgufArray& array = header.array(key);
  ESP_CHECK(array.type == GgufType::string, input, place(header, key),
            " is an array of numbers, expected strings");
  return array.strings;
}

std::optional<std::int32_t> token_id(const GgufHeader& header, const char* name, std::size_t n) {
  const std::string key = kPrefix + name;
  const std::optional<std::int64_t> value = stated_id(header, key);
  if (!value) return std::nullopt;
  ESP_CHECK(*value >= 0 && static_cast<std::uint64_t>(*value) < n, input, place(header, key),
            " is ", *value, ", outside the vocabulary of ", n, " tokens");
  return static_cast<std::int32_t>(*value);
}

void read_scores(const GgufHeader& header, TokenizerData& data) {
  const std::string key = kPrefix + "scores";
  const GgufArray& array = header.array(key);
  ESP_CHECK(array.type == GgufType::f32 || array.type == GgufType::f64, input, place(header, key),
            " is not an array of floats");
  data.scores.reserve(array.numbers.size());
  for (const double score : array.numbers) data.scores.push_back(static_cast<float>(score));
}

void read_types(const GgufHeader& header, TokenizerData& data) {
  const std::string key = kPrefix + "token_type";
  const GgufArray* array = header.optional_array(key);
  if (array == nullptr) {
    ESP_CHECK(data.kind == TokenizerKind::byte_bpe, input, place(header, key),
              " is missing, which an SPM tokenizer needs");
    data.types.assign(data.tokens.size(), TokenType::normal);
    return;
  }
  for (const std::int32_t type : integers(header, key, *array))
    data.types.push_back(static_cast<TokenType>(type));
}

// llama.cpp searches for user-defined tokens in the original text and prints them unchanged. So in
// a GGUF their U+2581 become spaces. The ids of the changed tokens are stored beside them.
std::vector<std::string> spaced_tokens(const TokenizerData& data,
                                       std::vector<std::int32_t>& spaced) {
  std::vector<std::string> tokens = data.tokens;
  if (data.kind == TokenizerKind::byte_bpe) return tokens;
  const std::unordered_set<std::string_view> taken(data.tokens.begin(), data.tokens.end());
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    if (data.types[i] != TokenType::user_defined ||
        tokens[i].find(kSpaceSymbol) == std::string::npos)
      continue;
    const std::string text = replace_all(tokens[i], kSpaceSymbol, " ");
    if (text.find(' ') == std::string::npos || tokens[i].find(' ') != std::string::npos ||
        taken.count(text) != 0)
      continue;
    tokens[i] = text;
    spaced.push_back(static_cast<std::int32_t>(i));
  }
  return tokens;
}

void restore_spaced_tokens(const GgufHeader& header, TokenizerData& data) {
  const std::string key = kOwn + "spaced_ids";
  const GgufArray* array = header.optional_array(key);
  if (array == nullptr) return;
  for (const std::int32_t id : integers(header, key, *array)) {
    ESP_CHECK(id >= 0 && static_cast<std::size_t>(id) < data.tokens.size(), input,
              place(header, key), " has ", id, ", outside the vocabulary of ", data.tokens.size(),
              " tokens");
    std::string& token = data.tokens[static_cast<std::size_t>(id)];
    token = replace_all(token, " ", kSpaceSymbol);
  }
}

// Reads an array of u8 or i8 as bytes.
void read_charsmap(const GgufHeader& header, TokenizerData& data) {
  const std::string key = kPrefix + "precompiled_charsmap";
  const GgufArray* array = header.optional_array(key);
  if (array == nullptr) return;
  ESP_CHECK(array->type == GgufType::u8 || array->type == GgufType::i8, input, place(header, key),
            " is not an array of bytes");
  data.charsmap.reserve(array->numbers.size());
  for (const double byte : array->numbers)
    data.charsmap.push_back(static_cast<char>(static_cast<unsigned char>(static_cast<int>(byte))));
}

GgufValue byte_array(const std::string& bytes) {
  auto array = std::make_shared<GgufArray>();
  array->type = GgufType::u8;
  array->numbers.reserve(bytes.size());
  for (const char c : bytes) array->numbers.push_back(static_cast<unsigned char>(c));
  return {GgufType::array, std::shared_ptr<const GgufArray>(std::move(array))};
}

void read_own_keys(const GgufHeader& header, TokenizerData& data) {
  data.nfc = header.optional_boolean(kOwn + "nfc").value_or(data.nfc);
  data.ignore_merges = header.optional_boolean(kOwn + "ignore_merges").value_or(data.ignore_merges);
  if (const auto rule = header.optional_text(kOwn + "space_rule")) {
    ESP_CHECK(*rule == "metaspace_always" || *rule == "metaspace_first", unsupported,
              place(header, kOwn + "space_rule"), " is '", *rule,
              "', expected metaspace_always or metaspace_first");
    data.space_rule =
        *rule == "metaspace_always" ? SpaceRule::metaspace_always : SpaceRule::metaspace_first;
  }
  restore_spaced_tokens(header, data);
  const GgufArray* ids = header.optional_array(kOwn + "rule_ids");
  const GgufArray* flags = header.optional_array(kOwn + "rule_flags");
  if (ids == nullptr && flags == nullptr) return;
  ESP_CHECK(ids != nullptr && flags != nullptr && ids->numbers.size() == flags->numbers.size(),
            input, place(header, kOwn + "rule_ids"), " and ", kOwn,
            "rule_flags have different lengths");
  const std::vector<std::int32_t> id = integers(header, kOwn + "rule_ids", *ids),
                                  flag = integers(header, kOwn + "rule_flags", *flags);
  for (std::size_t i = 0; i < id.size(); ++i) {
    data.rules.push_back({.id = id[i],
                          .lstrip = (flag[i] & 1) != 0,
                          .rstrip = (flag[i] & 2) != 0,
                          .normalized = (flag[i] & 4) != 0,
                          .bare = (flag[i] & 8) != 0});
  }
}

// A name of a template as a file and a key have it.
std::string plain_name(std::string name) {
  for (char& c : name)
    if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'))) c = '_';
  return name;
}

// tokenizer.chat_template.NAME. The list of names, tokenizer.chat_templates, says no more.
void read_named_templates(const GgufHeader& header, TokenizerData& data) {
  const std::string prefix = kTemplate + ".";
  for (const auto& [key, value] : header.metadata())
    if (key.size() > prefix.size() && key.starts_with(prefix))
      data.hf_named_templates.emplace_back(plain_name(key.substr(prefix.size())), header.text(key));
  std::sort(data.hf_named_templates.begin(), data.hf_named_templates.end());
}

void write_named_templates(const TokenizerData& data, format::GgufWriter& writer) {
  std::vector<std::string> names;
  for (const auto& [name, source] : data.hf_named_templates) {
    names.push_back(plain_name(name));
    writer.set(kTemplate + "." + names.back(), GgufValue::string(source));
  }
  if (!names.empty()) writer.set("tokenizer.chat_templates", GgufValue::strings(names));
}

TokenizerKind read_kind(const GgufHeader& header) {
  const std::string key = kPrefix + "model";
  ESP_CHECK(
      header.find(key) != nullptr, input, place(header, key),
      " is missing: the file has no tokenizer, as `quantize --no-tokenizer` writes it; only a "
      "program with the C library can run it, because it brings token ids");
  const std::string& model = header.text(key);
  ESP_CHECK(model == "gpt2" || model == "llama" || model == "t5", unsupported, place(header, key),
            " is '", model, "'; supported are gpt2 (byte-level BPE), llama (SPM) and t5 (unigram)");
  return model == "gpt2"    ? TokenizerKind::byte_bpe
         : model == "llama" ? TokenizerKind::spm
                            : TokenizerKind::unigram;
}

// Whether BOS and EOS are added where the file does not say. All defaults for absent keys are those
// of llama.cpp.
struct AddedByDefault {
  bool bos = false, eos = false;
};

// What assume_pre() was given.
std::string& assumed_pre() {
  static std::string name;
  return name;
}

// The pre-tokenizer that the file names, or else that a user has named.
std::string read_pre(const GgufHeader& header, TokenizerKind kind) {
  const std::string stated = header.optional_text(kPrefix + "pre").value_or("");
  const std::string& assumed = assumed_pre();
  if (assumed.empty()) return stated;
  ESP_CHECK(kind == TokenizerKind::byte_bpe, usage, "--pre ", assumed, ": ", header.path(),
            " has no byte-level BPE tokenizer; leave it out");
  ESP_CHECK(stated.empty() || find_pre_spec(stated) == find_pre_spec(assumed), usage, "--pre ",
            assumed, ": ", header.path(), " says ", stated, " itself; leave it out");
  return stated.empty() ? assumed : stated;
}

AddedByDefault read_byte_bpe(const GgufHeader& header, const std::string& pre,
                             TokenizerData& data) {
  const PreSpec* spec = find_pre_spec(pre);
  ESP_CHECK(spec != nullptr, unsupported, place(header, kPrefix + "pre"),
            pre.empty() ? " is missing: the file does not say how text is divided into words; name "
                          "the rule of its model with --pre (stock llama.cpp divides such a file "
                          "by a rule that no model is trained with)"
                        : " is '" + pre + "'",
            "; supported for byte-level BPE are ", known_pre_names());
  data.pre = pre;
  data.nfc = spec->nfc;
  data.ignore_merges = spec->ignore_merges;
  data.add_space_prefix = false;
  data.merges = strings(header, kPrefix + "merges");
  return {.bos = spec->add_bos && data.bos.has_value()};
}

AddedByDefault read_unigram(const GgufHeader& header, TokenizerData& data) {
  data.pre = "default";
  data.add_space_prefix = header.optional_boolean(kPrefix + "add_space_prefix").value_or(false);
  data.remove_extra_spaces =
      header.optional_boolean(kPrefix + "remove_extra_whitespaces").value_or(false);
  read_charsmap(header, data);
  read_scores(header, data);
  if (!data.unk && data.tokens.size() > 2) data.unk = 2;
  return {.eos = data.eos.has_value()};
}

AddedByDefault read_spm(const GgufHeader& header, const std::string& pre, TokenizerData& data) {
  ESP_CHECK(pre.empty() || pre == "default", unsupported, place(header, kPrefix + "pre"), " is '",
            pre, "'; supported for SPM is default");
  ESP_CHECK(!header.optional_boolean(kPrefix + "remove_extra_whitespaces").value_or(false),
            unsupported, place(header, kPrefix + "remove_extra_whitespaces"),
            " is true, which is not supported");
  ESP_CHECK(header.optional_array(kPrefix + "precompiled_charsmap") == nullptr, unsupported,
            place(header, kPrefix + "precompiled_charsmap"),
            " is a normalization that is not supported");
  data.pre = "default";
  data.add_space_prefix = header.optional_boolean(kPrefix + "add_space_prefix").value_or(true);
  read_scores(header, data);
  return {.bos = data.bos.has_value()};
}

}  // namespace

void assume_pre(const std::string& name) {
  ESP_CHECK(find_pre_spec(name) != nullptr, usage, "--pre ", name,
            ": no such pre-tokenizer; known are ", known_pre_names());
  assumed_pre() = name;
}

TokenizerData tokenizer_from_gguf(const GgufHeader& header) {
  TokenizerData data;
  data.kind = read_kind(header);
  data.tokens = strings(header, kPrefix + "tokens");
  read_types(header, data);
  const std::size_t n = data.tokens.size();
  data.bos = token_id(header, "bos_token_id", n);
  data.eos = token_id(header, "eos_token_id", n);
  data.unk = token_id(header, "unknown_token_id", n);
  data.pad = token_id(header, "padding_token_id", n);
  for (const auto& [key, value] : header.metadata())  // those that others read
    if (key.starts_with(kPrefix) && key.ends_with("_token_id"))
      static_cast<void>(token_id(header, key.substr(kPrefix.size()).c_str(), n));
  const std::string pre = read_pre(header, data.kind);
  const AddedByDefault added = data.kind == TokenizerKind::byte_bpe
                                   ? read_byte_bpe(header, pre, data)
                               : data.kind == TokenizerKind::unigram ? read_unigram(header, data)
                                                                     : read_spm(header, pre, data);
  data.add_bos = header.optional_boolean(kPrefix + "add_bos_token").value_or(added.bos);
  data.add_eos = header.optional_boolean(kPrefix + "add_eos_token").value_or(added.eos);
  data.chat_template = header.optional_text(kTemplate).value_or("");
  read_named_templates(header, data);
  read_own_keys(header, data);
  check_tokenizer(data, header.path() + ": tokenizer.ggml");
  return data;
}

void tokenizer_to_gguf(const TokenizerData& data, format::GgufWriter& writer) {
  check_tokenizer(data, "tokenizer to be written as GGUF");
  const bool bpe = data.kind == TokenizerKind::byte_bpe;
  writer.set(kPrefix + "model", GgufValue::string(bpe                               ? "gpt2"
                                                  : data.kind == TokenizerKind::spm ? "llama"
                                                                                    : "t5"));
  writer.set(kPrefix + "pre", GgufValue::string(data.pre));
  std::vector<std::int32_t> spaced;
  writer.set(kPrefix + "tokens", GgufValue::strings(spaced_tokens(data, spaced)));
  if (!spaced.empty()) writer.set(kOwn + "spaced_ids", GgufValue::i32s(spaced));
  std::vector<std::int32_t> types;
  types.reserve(data.types.size());
  for (const TokenType type : data.types) types.push_back(static_cast<std::int32_t>(type));
  writer.set(kPrefix + "token_type", GgufValue::i32s(types));
  if (bpe) {
    writer.set(kPrefix + "merges", GgufValue::strings(data.merges));
  } else {
    writer.set(kPrefix + "scores", GgufValue::f32s(data.scores));
  }
  const auto set_id = [&writer](const char* name, const std::optional<std::int32_t>& id) {
    if (id) writer.set(kPrefix + name, GgufValue::u32(static_cast<std::uint32_t>(*id)));
  };
  set_id("bos_token_id", data.bos);
  set_id("eos_token_id", data.eos);
  set_id("unknown_token_id", data.unk);
  set_id("padding_token_id", data.pad);
  writer.set(kPrefix + "add_bos_token", GgufValue::boolean(data.add_bos));
  writer.set(kPrefix + "add_eos_token", GgufValue::boolean(data.add_eos));
  writer.set(kPrefix + "add_space_prefix", GgufValue::boolean(!bpe && data.add_space_prefix));
  if (data.kind == TokenizerKind::unigram) {
    writer.set(kPrefix + "remove_extra_whitespaces", GgufValue::boolean(data.remove_extra_spaces));
    if (!data.charsmap.empty())
      writer.set(kPrefix + "precompiled_charsmap", byte_array(data.charsmap));
  }
  if (!data.chat_template.empty()) writer.set(kTemplate, GgufValue::string(data.chat_template));
  write_named_templates(data, writer);

  const PreSpec* spec = bpe ? find_pre_spec(data.pre) : nullptr;
  if (spec != nullptr && data.nfc != spec->nfc)
    writer.set(kOwn + "nfc", GgufValue::boolean(data.nfc));
  if (spec != nullptr && data.ignore_merges != spec->ignore_merges) {
    writer.set(kOwn + "ignore_merges", GgufValue::boolean(data.ignore_merges));
  }
  if (!bpe && data.space_rule != SpaceRule::every_segment) {
    writer.set(kOwn + "space_rule", GgufValue::string(data.space_rule == SpaceRule::metaspace_always
                                                          ? "metaspace_always"
                                                          : "metaspace_first"));
  }
  if (data.rules.empty()) return;
  std::vector<std::int32_t> ids, flags;
  for (const AddedRule& rule : data.rules) {
    ids.push_back(rule.id);
    flags.push_back((rule.lstrip ? 1 : 0) | (rule.rstrip ? 2 : 0) | (rule.normalized ? 4 : 0) |
                    (rule.bare ? 8 : 0));
  }
  writer.set(kOwn + "rule_ids", GgufValue::i32s(ids));
  writer.set(kOwn + "rule_flags", GgufValue::i32s(flags));
}

}  // namespace espalier::text
