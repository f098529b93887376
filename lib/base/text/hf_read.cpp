// SPDX-License-Identifier: Apache-2.0
// Reads Hugging Face tokenizer files into TokenizerData.
#include <algorithm>
#include <filesystem>

#include "core/error.h"
#include "core/file.h"
#include "format/json_input.h"
#include "text/hf_files.h"
#include "text/token_table.h"
#include "text/vocabulary.h"

namespace espalier::text {
namespace {

constexpr std::uint64_t kMaxFileBytes = std::uint64_t{1} << 28;

bool is_file(const std::string& path) {
  std::error_code error;
  return std::filesystem::is_regular_file(path, error);
}

std::string read_if_present(const std::string& path) {
  return is_file(path) ? core::read_text_file(path, kMaxFileBytes) : "";
}

void read_tokens(const JsonPlace& root, const HfPipeline& pipeline, TokenizerData& data) {
  const JsonPlace vocab = root.at("model").at("vocab");
  const bool has_added = root.has("added_tokens");
  const std::size_t n_added = has_added ? root.at("added_tokens").array().size() : 0;
  TokenTable table(data, vocab.object().size() + n_added);
  const std::string unknown = root.at("model").text_or("unk_token", "");
  const bool spm = data.kind == TokenizerKind::spm;
  for (const auto& [token, id] : vocab.object().items()) {
    ESP_CHECK(!token.empty(), input, vocab.where(), " has an empty token");
    ESP_CHECK(id.is_number_integer(), input, vocab.where(), ": token ", shown(token), " has ",
              id.type_name(), " for an id");
    const std::size_t index = table.add(JsonPlace(id, vocab.where() + " " + shown(token)).integer(),
                                        token, vocab.where());
    const bool byte = spm && byte_of_token(token) >= 0;
    data.types[index] = byte                      ? TokenType::byte
                        : spm && token == unknown ? TokenType::unknown
                                                  : TokenType::normal;
  }
  for (std::size_t i = 0; i < n_added; ++i) {
    const JsonPlace added = root.at("added_tokens").at(i);
    const std::string& content = added.at("content").text();
    ESP_CHECK(!content.empty(), input, added.where(), ".content is empty");
    const auto in_vocab = vocab.value().find(content);
    const std::int64_t id = added.at("id").integer();
    ESP_CHECK(in_vocab == vocab.value().end() || *in_vocab == id, input, added.where(), ": token ",
              shown(content), " has id ", id, ", but model.vocab has it under another");
    const std::size_t index = table.add(id, content, added.where());
    ESP_CHECK(!added.flag("single_word", false), unsupported, added.where(), ": token ",
              shown(content), " has single_word, which is not supported");
    if (data.types[index] != TokenType::unknown) {
      data.types[index] =
          added.flag("special", false) ? TokenType::control : TokenType::user_defined;
    }
    const AddedRule rule{.id = static_cast<std::int32_t>(id),
                         .lstrip = added.flag("lstrip", false),
                         .rstrip = added.flag("rstrip", false),
                         .normalized = pipeline.has_normalizer && added.flag("normalized", true)};
    if (rule.lstrip || rule.rstrip || rule.normalized) data.rules.push_back(rule);
  }
  std::sort(data.rules.begin(), data.rules.end(),
            [](const AddedRule& a, const AddedRule& b) { return a.id < b.id; });
  table.fill_gaps();
}

// Merges are "a b" or ["a", "b"]. Both become "a b", which is unambiguous because no token that
// merges contains a space.
std::vector<std::string> read_merges(const JsonPlace& model) {
  const JsonPlace list = model.at("merges");
  std::vector<std::string> merges;
  merges.reserve(list.array().size());
  for (std::size_t i = 0; i < list.size(); ++i) {
    const Json& entry = list.value()[i];
    if (entry.is_string()) {
      merges.push_back(entry.get_ref<const std::string&>());
      continue;
    }
    const JsonPlace pair = list.at(i);
    pair.array();
    ESP_CHECK(pair.size() == 2, input, pair.where(), " has ", pair.size(), " parts, expected 2");
    merges.push_back(pair.at(std::size_t{0}).text() + " " + pair.at(std::size_t{1}).text());
  }
  return merges;
}

}  // namespace

HfFiles read_hf_files(const std::string& directory) {
  HfFiles files{.directory = directory};
  files.from_model = !is_file(directory + "/tokenizer.json");
  if (files.from_model) {
    ESP_CHECK(is_file(directory + "/tokenizer.model"), input, directory,
              ": there is neither tokenizer.json nor tokenizer.model");
    files.tokenizer_model = core::read_text_file(directory + "/tokenizer.model", kMaxFileBytes);
    files.added_tokens = read_if_present(directory + "/added_tokens.json");
  } else {
    files.tokenizer_json = core::read_text_file(directory + "/tokenizer.json", kMaxFileBytes);
  }
  files.tokenizer_config = read_if_present(directory + "/tokenizer_config.json");
  files.special_tokens_map = read_if_present(directory + "/special_tokens_map.json");
  files.chat_template = read_if_present(directory + "/chat_template.jinja");
  files.gguf_extra = read_if_present(directory + "/tokenizer_gguf.json");
  return files;
}

TokenizerData parse_hf(const HfFiles& files) {
  if (files.from_model) return parse_hf_model(files);
  const std::string path = files.directory + "/tokenizer.json";
  const Json json = format::parse_json<Json>(files.tokenizer_json, path);
  const JsonPlace root(json, path + ":");
  TokenizerData data;
  const HfPipeline pipeline = read_pipeline(root, data);
  read_tokens(root, pipeline, data);
  const JsonPlace model = root.at("model");
  std::vector<std::string> merges = read_merges(model);
  if (data.kind == TokenizerKind::byte_bpe) {
    data.merges = std::move(merges);
  } else {
    scores_from_merges(merges, model.where() + ".merges", data);
  }
  const std::string unknown = model.text_or("unk_token", "");
  const auto unknown_place = std::find(data.tokens.begin(), data.tokens.end(), unknown);
  if (!unknown.empty() && unknown_place != data.tokens.end())
    data.unk = static_cast<std::int32_t>(unknown_place - data.tokens.begin());
  read_config(files, &root, data);
  apply_extra(files, data);
  check_tokenizer(data, path);
  return data;
}

TokenizerData tokenizer_from_hf(const std::string& directory) {
  const HfFiles files = read_hf_files(directory);
  TokenizerData data = parse_hf(files);
  data.hf_tokenizer_json = files.tokenizer_json;
  data.hf_tokenizer_model = files.tokenizer_model;
  data.hf_tokenizer_config = files.tokenizer_config;
  data.hf_special_tokens_map = files.special_tokens_map;
  return data;
}

bool hf_directory_has_tokenizer(const std::string& directory) {
  return is_file(directory + "/tokenizer.json") || is_file(directory + "/tokenizer.model");
}

}  // namespace espalier::text
