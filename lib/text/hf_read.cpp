// Hugging Face tokenizer files -> TokenizerData.
#include <algorithm>
#include <filesystem>
#include <unordered_map>
#include <unordered_set>

#include "core/error.h"
#include "core/file.h"
#include "format/json_input.h"
#include "text/hf_files.h"
#include "text/pretokenizer.h"
#include "text/vocabulary.h"

namespace espalier::text {
namespace {

constexpr std::uint64_t kMaxFileBytes = std::uint64_t{1} << 28;
constexpr std::uint64_t kMaxGap = 65536;  // ids that no token has, over the whole vocabulary

std::string read_if_present(const std::string& path) {
  std::error_code error;
  return std::filesystem::is_regular_file(path, error) ? core::read_text_file(path, kMaxFileBytes) : "";
}

// Token texts by id, from model.vocab and added_tokens. Ids may have gaps, but not so many that the table would be large.
class TokenTable {
 public:
  TokenTable(TokenizerData& data, std::size_t n_expected) : data_(data), limit_(n_expected + kMaxGap) {}

  std::size_t add(std::int64_t id, const std::string& token, const std::string& where) {
    ESP_CHECK(id >= 0 && static_cast<std::uint64_t>(id) < limit_, input, where, ": token ", shown(token), " has id ", id,
              ", outside the ", limit_, " ids this vocabulary may use");
    const auto index = static_cast<std::size_t>(id);
    if (index >= data_.tokens.size()) {
      data_.tokens.resize(index + 1);
      data_.types.resize(index + 1, TokenType::unused);
    }
    ESP_CHECK(data_.tokens[index].empty() || data_.tokens[index] == token, input, where, ": tokens ", shown(data_.tokens[index]), " and ",
              shown(token), " both have id ", id);
    data_.tokens[index] = token;
    return index;
  }

  void fill_gaps() {
    std::unordered_set<std::string> taken(data_.tokens.begin(), data_.tokens.end());
    for (std::size_t i = 0; i < data_.tokens.size(); ++i) {
      if (!data_.tokens[i].empty()) continue;
      std::string name = "[PAD" + std::to_string(i) + "]";
      while (!taken.insert(name).second) name += "_";
      data_.tokens[i] = name;
    }
  }

 private:
  TokenizerData& data_;
  std::uint64_t limit_;
};

void read_tokens(const JsonPlace& root, const HfPipeline& pipeline, TokenizerData& data) {
  const JsonPlace vocab = root.at("model").at("vocab");
  const bool has_added = root.has("added_tokens");
  const std::size_t n_added = has_added ? root.at("added_tokens").array().size() : 0;
  TokenTable table(data, vocab.object().size() + n_added);
  const std::string unknown = root.at("model").text_or("unk_token", "");
  const bool spm = data.kind == TokenizerKind::spm;
  for (const auto& [token, id] : vocab.object().items()) {
    ESP_CHECK(!token.empty(), input, vocab.where(), " has an empty token");
    ESP_CHECK(id.is_number_integer(), input, vocab.where(), ": token ", shown(token), " has ", id.type_name(), " for an id");
    const std::size_t index = table.add(JsonPlace(id, vocab.where() + " " + shown(token)).integer(), token, vocab.where());
    const bool byte = spm && byte_of_token(token) >= 0;
    data.types[index] = byte ? TokenType::byte : spm && token == unknown ? TokenType::unknown : TokenType::normal;
  }
  for (std::size_t i = 0; i < n_added; ++i) {
    const JsonPlace added = root.at("added_tokens").at(i);
    const std::string& content = added.at("content").text();
    ESP_CHECK(!content.empty(), input, added.where(), ".content is empty");
    const auto in_vocab = vocab.value().find(content);
    const std::int64_t id = added.at("id").integer();
    ESP_CHECK(in_vocab == vocab.value().end() || *in_vocab == id, input, added.where(), ": token ", shown(content), " has id ", id,
              ", but model.vocab has it under another");
    const std::size_t index = table.add(id, content, added.where());
    ESP_CHECK(!added.flag("single_word", false), unsupported, added.where(), ": token ", shown(content),
              " has single_word, which is not supported");
    if (data.types[index] != TokenType::unknown) {
      data.types[index] = added.flag("special", false) ? TokenType::control : TokenType::user_defined;
    }
    const AddedRule rule{.id = static_cast<std::int32_t>(id),
                         .lstrip = added.flag("lstrip", false),
                         .rstrip = added.flag("rstrip", false),
                         .normalized = pipeline.has_normalizer && added.flag("normalized", true)};
    if (rule.lstrip || rule.rstrip || rule.normalized) data.rules.push_back(rule);
  }
  std::sort(data.rules.begin(), data.rules.end(), [](const AddedRule& a, const AddedRule& b) { return a.id < b.id; });
  table.fill_gaps();
}

// "a b" or ["a", "b"]; both come out as "a b", which is unambiguous since no token that merges contains a space.
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

std::uint64_t pair_of(const Merge& merge) {
  return (static_cast<std::uint64_t>(merge.left) << 32) | static_cast<std::uint32_t>(merge.right);
}

// Scores that rank tokens as the merge list does: the k-th token to be made gets -k, then the others by id. The list must be one that
// scores imply: grouped by result, and with every split of a token that has one. A token that could be made and is not is unused.
void scores_from_merges(const std::vector<std::string>& texts, const std::string& where, TokenizerData& data) {
  TokenizerData probe;  // resolve_merges reads data.merges, which stays empty for spm
  probe.tokens = data.tokens;
  probe.merges = texts;
  const TokenIds ids = index_tokens(probe, where);
  const std::vector<Merge> merges = resolve_merges(probe, ids, where);
  data.scores.assign(data.tokens.size(), 0.0f);
  std::vector<bool> ranked(data.tokens.size(), false);
  std::unordered_set<std::uint64_t> listed;
  std::int64_t next = 0;
  for (std::size_t i = 0; i < merges.size(); ++i) {
    listed.insert(pair_of(merges[i]));
    const auto result = static_cast<std::size_t>(merges[i].result);
    if (i > 0 && merges[i - 1].result == merges[i].result) continue;
    ESP_CHECK(!ranked[result], unsupported, where, "[", i, "] makes ", shown(data.tokens[result]),
              " again after other tokens; only merge lists that scores can express are supported with byte_fallback");
    ESP_CHECK(data.types[result] == TokenType::normal, unsupported, where, "[", i, "] makes ", shown(data.tokens[result]),
              ", which is not an ordinary token");
    ranked[result] = true;
    data.scores[result] = -static_cast<float>(next++);
  }
  for (std::size_t i = 0; i < data.tokens.size(); ++i) {
    if (data.types[i] == TokenType::normal && !ranked[i]) data.scores[i] = -static_cast<float>(next++);
  }
  for (const Merge& merge : merges_from_scores(data, ids)) {
    const auto result = static_cast<std::size_t>(merge.result);
    if (!ranked[result]) data.types[result] = TokenType::unused;
  }
  for (const Merge& merge : merges_from_scores(data, ids)) {
    const auto name = [&data](std::int32_t id) { return shown(data.tokens[static_cast<std::size_t>(id)]); };
    ESP_CHECK(listed.count(pair_of(merge)) != 0, unsupported, where, " makes ", name(merge.result), ", but not of ",
              name(merge.left), " and ", name(merge.right), "; only merge lists that scores can express are supported with byte_fallback");
  }
}

// "<s>" or {"content": "<s>", ...}; empty when absent.
std::string named_token(const JsonPlace& root, const char* key) {
  if (!root.has(key)) return "";
  const JsonPlace value = root.at(key);
  return value.value().is_string() ? value.text() : value.at("content").text();
}

std::string chat_template_of(const JsonPlace& config) {
  if (!config.has("chat_template")) return "";
  const JsonPlace value = config.at("chat_template");
  if (value.value().is_string()) return value.text();
  value.array();
  for (std::size_t i = 0; i < value.size(); ++i) {
    if (value.at(i).at("name").text() == "default") return value.at(i).at("template").text();
  }
  core::fail(core::ErrorKind::unsupported, value.where(), " has ", value.size(), " named templates, none of them 'default'");
}

void read_config(const HfFiles& files, const JsonPlace& root, TokenizerData& data) {
  const std::string config_path = files.directory + "/tokenizer_config.json", map_path = files.directory + "/special_tokens_map.json";
  const auto parse_if_present = [](const std::string& text, const std::string& path) {
    return text.empty() ? Json::object() : format::parse_json<Json>(text, path);
  };
  const Json config_json = parse_if_present(files.tokenizer_config, config_path);
  const Json map_json = parse_if_present(files.special_tokens_map, map_path);
  const JsonPlace config(config_json, config_path + ":"), map(map_json, map_path + ":");
  const TokenIds ids = index_tokens(data, files.directory + "/tokenizer.json: model.vocab");
  const auto find = [&](const char* key) -> std::optional<std::int32_t> {
    for (const JsonPlace* source : {&config, &map}) {
      const std::string name = named_token(*source, key);
      if (name.empty()) continue;
      const auto found = ids.find(name);
      ESP_CHECK(found != ids.end(), input, source->where(), " ", key, " is ", shown(name), ", which tokenizer.json does not have");
      return found->second;
    }
    return std::nullopt;
  };
  data.bos = find("bos_token");
  data.eos = find("eos_token");
  data.unk = find("unk_token");
  data.pad = find("pad_token");
  const std::string unknown = root.at("model").text_or("unk_token", "");
  if (!data.unk && !unknown.empty() && ids.count(unknown) != 0) data.unk = ids.at(unknown);

  // transformers would add such tokens behind those of tokenizer.json.
  if (config.has("added_tokens_decoder")) {
    for (const auto& [id, token] : config.at("added_tokens_decoder").object().items()) {
      const std::string content = JsonPlace(token, config.where() + " added_tokens_decoder." + id).at("content").text();
      ESP_CHECK(ids.count(content) != 0, unsupported, config.where(), " added_tokens_decoder.", id, " is ", shown(content),
                ", which tokenizer.json does not have");
    }
  }

  // transformers rebuilds the post-processor when the configuration has one of the two flags; else tokenizer.json's stands.
  const HfTemplate around = read_post_processor(root);
  const bool by_config =
      config.value().contains("add_bos_token") || config.value().contains("add_eos_token") || !root.has("post_processor");
  if (by_config) {
    data.add_bos = config.flag("add_bos_token", false) && data.bos.has_value();
    data.add_eos = config.flag("add_eos_token", false) && data.eos.has_value();
  } else {
    const auto take = [&](const std::optional<std::int32_t>& id, std::optional<std::int32_t>& named, const char* name) {
      if (!id) return false;
      ESP_CHECK(!named || *named == *id, unsupported, root.where(), " post_processor adds token ", *id, " where the ", name,
                " token is ", *named);
      named = id;
      return true;
    };
    data.add_bos = take(around.before, data.bos, "BOS");
    data.add_eos = take(around.after, data.eos, "EOS");
  }
  data.chat_template = files.chat_template.empty() ? chat_template_of(config) : files.chat_template;
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
      ESP_CHECK(type >= 1 && type <= 6, input, types.at(i).where(), " is ", type, ", expected 1 to 6");
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
  ESP_CHECK(data.types.size() == n && (data.kind == TokenizerKind::byte_bpe || data.scores.size() == n), input, path, ": ",
            data.types.size(), " types and ", data.scores.size(), " scores for the ", n, " tokens of tokenizer.json");
}

}  // namespace

HfFiles read_hf_files(const std::string& directory) {
  HfFiles files{.directory = directory};
  files.tokenizer_json = core::read_text_file(directory + "/tokenizer.json", kMaxFileBytes);
  files.tokenizer_config = read_if_present(directory + "/tokenizer_config.json");
  files.special_tokens_map = read_if_present(directory + "/special_tokens_map.json");
  files.chat_template = read_if_present(directory + "/chat_template.jinja");
  files.gguf_extra = read_if_present(directory + "/tokenizer_gguf.json");
  return files;
}

TokenizerData parse_hf(const HfFiles& files) {
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
  read_config(files, root, data);
  apply_extra(files, data);
  check_tokenizer(data, path);
  return data;
}

TokenizerData tokenizer_from_hf(const std::string& directory) {
  const HfFiles files = read_hf_files(directory);
  TokenizerData data = parse_hf(files);
  data.hf_tokenizer_json = files.tokenizer_json;
  data.hf_tokenizer_config = files.tokenizer_config;
  data.hf_special_tokens_map = files.special_tokens_map;
  return data;
}

bool hf_directory_has_tokenizer(const std::string& directory) {
  std::error_code error;
  return std::filesystem::is_regular_file(directory + "/tokenizer.json", error);
}

}  // namespace espalier::text
