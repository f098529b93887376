// SPDX-License-Identifier: Apache-2.0
// Reads Hugging Face tokenizer files into TokenizerData.
#include <algorithm>
#include <filesystem>
#include <optional>

#include "core/error.h"
#include "core/file.h"
#include "format/json_input.h"
#include "text/hf_files.h"
#include "text/hf_unigram.h"
#include "text/token_table.h"
#include "text/utf8.h"
#include "text/vocabulary.h"

namespace espalier::text {
namespace {

constexpr std::uint64_t kMaxFileBytes = std::uint64_t{1} << 28;

// Also a link to nothing, which must not look like an absent file.
bool is_there(const std::string& path) {
  std::error_code error;
  return std::filesystem::exists(std::filesystem::symlink_status(path, error));
}

// A file that is there has something to say: an empty one is what is left of a broken download.
std::string read_whole(const std::string& path) {
  std::string text = core::read_text_file(path, kMaxFileBytes);
  ESP_CHECK(!text.empty(), input, path,
            ": the file is empty; put the right one in its place, or remove it");
  return text;
}

std::string read_if_present(const std::string& path) {
  return is_there(path) ? read_whole(path) : "";
}

// A template is text, and no JSON that would be checked when it is parsed.
std::string read_template_file(const std::string& path) {
  std::string text = read_if_present(path);
  ESP_CHECK(is_valid_utf8(text), input, path, ": is not UTF-8 text");
  return text;
}

std::optional<HfVocabulary> vocabulary_in(const std::string& directory) {
  const auto has = [&](const char* name) { return is_there(directory + "/" + name); };
  if (has("tokenizer.json")) return HfVocabulary::tokenizer_json;
  if (has("tokenizer.model")) return HfVocabulary::sentencepiece;
  if (has("vocab.json") || has("merges.txt")) return HfVocabulary::vocab_and_merges;
  if (has("tekken.json")) return HfVocabulary::tekken;
  return std::nullopt;
}

NamedTemplates read_named_templates(const std::string& directory) {
  NamedTemplates out;
  const std::string folder = directory + "/additional_chat_templates";
  if (!is_there(folder)) return out;
  std::error_code error;
  std::filesystem::directory_iterator entries(folder, error);
  ESP_CHECK(!error, input, folder, ": cannot list the directory: ", error.message());
  for (const auto& entry : entries)
    if (entry.path().extension() == ".jinja")
      out.emplace_back(entry.path().stem().string(), read_template_file(entry.path().string()));
  std::sort(out.begin(), out.end());
  return out;
}

void read_vocabulary(const JsonPlace& model, TokenTable& table, TokenizerData& data) {
  const JsonPlace vocab = model.at("vocab");
  const std::string unknown = model.text_or("unk_token", "");
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
}

void read_added(const JsonPlace& added, const Json& vocab, const HfPipeline& pipeline,
                TokenTable& table, TokenizerData& data) {
  const std::string& content = added.at("content").text();
  ESP_CHECK(!content.empty(), input, added.where(), ".content is empty");
  const auto in_vocab = vocab.find(content);
  const std::int64_t id = added.at("id").integer();
  ESP_CHECK(in_vocab == vocab.end() || *in_vocab == id, input, added.where(), ": token ",
            shown(content), " has id ", id, ", but model.vocab has it under another");
  const std::size_t index = table.add(id, content, added.where());
  ESP_CHECK(!added.flag("single_word", false), unsupported, added.where(), ": token ",
            shown(content), " has single_word, which is not supported");
  if (data.types[index] != TokenType::unknown) {
    data.types[index] = added.flag("special", false) ? TokenType::control : TokenType::user_defined;
  }
  const bool normalized = added.flag("normalized", true);
  const AddedRule rule{.id = static_cast<std::int32_t>(id),
                       .lstrip = added.flag("lstrip", false),
                       .rstrip = added.flag("rstrip", false),
                       .normalized = pipeline.has_normalizer && normalized};
  ESP_CHECK(!pipeline.raw_tokens_only || !normalized, unsupported, added.where(), ": token ",
            shown(content),
            " is searched for in normalized text, which is not supported for this normalizer");
  if (data.kind == TokenizerKind::unigram && normalized) require_unmapped(added, data);
  if (rule.lstrip || rule.rstrip || rule.normalized) data.rules.push_back(rule);
}

void read_tokens(const JsonPlace& root, const HfPipeline& pipeline, TokenizerData& data) {
  const JsonPlace model = root.at("model"), vocab = model.at("vocab");
  const bool has_added = root.has("added_tokens"), unigram = data.kind == TokenizerKind::unigram;
  const std::size_t n_added = has_added ? root.at("added_tokens").array().size() : 0;
  TokenTable table(data, vocab.size() + n_added);
  if (unigram)
    read_unigram_pieces(model, pipeline, table, data);
  else
    read_vocabulary(model, table, data);
  for (std::size_t i = 0; i < n_added; ++i)
    read_added(root.at("added_tokens").at(i), vocab.value(), pipeline, table, data);
  for (const std::string& piece : pipeline.pieces) {
    const auto found = vocab.value().find(piece);
    ESP_CHECK(found != vocab.value().end(), unsupported, root.where(), " pre_tokenizer isolates ",
              shown(piece), ", which is no token");
    const auto id = found->get<std::int32_t>();
    TokenType& type = data.types[static_cast<std::size_t>(id)];
    if (type != TokenType::normal) continue;  // an added token, which is found before
    type = TokenType::user_defined;
    data.rules.push_back({.id = id, .normalized = true, .bare = true});
  }
  std::sort(data.rules.begin(), data.rules.end(),
            [](const AddedRule& a, const AddedRule& b) { return a.id < b.id; });
  table.fill_gaps();
  if (unigram) data.scores.resize(data.tokens.size(), 0.0f);
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
  const std::optional<HfVocabulary> vocabulary = vocabulary_in(directory);
  ESP_CHECK(vocabulary, input, directory, ": ", no_tokenizer_reason(directory));
  files.vocabulary = *vocabulary;
  switch (files.vocabulary) {
    case HfVocabulary::tokenizer_json:
      files.tokenizer_json = read_whole(directory + "/tokenizer.json");
      break;
    case HfVocabulary::sentencepiece:
      files.tokenizer_model = read_whole(directory + "/tokenizer.model");
      break;
    case HfVocabulary::vocab_and_merges:
      files.vocab_json = read_whole(directory + "/vocab.json");
      files.merges_txt = read_whole(directory + "/merges.txt");
      files.model_config = read_if_present(directory + "/config.json");
      break;
    case HfVocabulary::tekken:
      files.tekken_json = read_whole(directory + "/tekken.json");
      break;
  }
  files.added_tokens = read_if_present(directory + "/added_tokens.json");
  files.tokenizer_config = read_if_present(directory + "/tokenizer_config.json");
  files.special_tokens_map = read_if_present(directory + "/special_tokens_map.json");
  files.chat_template = read_template_file(directory + "/chat_template.jinja");
  files.old_chat_template = read_if_present(directory + "/chat_template.json");
  files.gguf_extra = read_if_present(directory + "/tokenizer_gguf.json");
  files.named_templates = read_named_templates(directory);
  return files;
}

TokenizerData parse_hf(const HfFiles& files) {
  if (files.vocabulary == HfVocabulary::sentencepiece) return parse_hf_model(files);
  if (files.vocabulary == HfVocabulary::vocab_and_merges) return parse_hf_bpe(files);
  if (files.vocabulary == HfVocabulary::tekken) return parse_hf_tekken(files);
  const std::string path = files.directory + "/tokenizer.json";
  const Json json = format::parse_json<Json>(files.tokenizer_json, path);
  const JsonPlace root(json, path + ":");
  TokenizerData data;
  const HfPipeline pipeline = read_pipeline(root, data);
  read_tokens(root, pipeline, data);
  const JsonPlace model = root.at("model");
  if (data.kind == TokenizerKind::byte_bpe) data.merges = read_merges(model);
  if (data.kind == TokenizerKind::spm)
    scores_from_merges(read_merges(model), model.where() + ".merges", data);
  const std::string unknown = model.text_or("unk_token", "");
  const auto unknown_place = std::find(data.tokens.begin(), data.tokens.end(), unknown);
  if (!unknown.empty() && unknown_place != data.tokens.end())
    data.unk = static_cast<std::int32_t>(unknown_place - data.tokens.begin());
  read_config(files, &root, {}, data);
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
  return vocabulary_in(directory).has_value();
}

std::vector<std::string> hf_vocabulary_files(const std::string& directory) {
  const std::optional<HfVocabulary> vocabulary = vocabulary_in(directory);
  std::vector<std::string> names;
  if (!vocabulary) return names;
  if (*vocabulary == HfVocabulary::tokenizer_json) names = {"tokenizer.json"};
  if (*vocabulary == HfVocabulary::sentencepiece) names = {"tokenizer.model"};
  if (*vocabulary == HfVocabulary::vocab_and_merges) names = {"vocab.json", "merges.txt"};
  if (*vocabulary == HfVocabulary::tekken) names = {"tekken.json"};
  if (is_there(directory + "/added_tokens.json")) names.push_back("added_tokens.json");
  return names;
}

std::string no_tokenizer_reason(const std::string& path) {
  std::error_code error;
  if (!std::filesystem::is_directory(path, error))
    return "there is no tokenizer (tokenizer.ggml.* was looked for)";
  std::string reason =
      "there is no tokenizer (tokenizer.json, tokenizer.model, vocab.json with merges.txt, and "
      "tekken.json were looked for)";
  std::vector<std::string> others;
  for (const auto& entry : std::filesystem::directory_iterator(path, error)) {
    const std::string name = entry.path().filename().string();
    const bool known = name.ends_with(".tiktoken") || name == "tiktoken.model" ||
                       name == "vocab.txt" || name == "spiece.model" ||
                       name == "sentencepiece.bpe.model" || name.starts_with("tokenizer.model.");
    if (known) others.push_back(name);
  }
  std::sort(others.begin(), others.end());
  for (const std::string& name : others)
    reason += (&name == &others.front() ? "; not supported: " : ", ") + name;
  return reason;
}

}  // namespace espalier::text
