// SPDX-License-Identifier: Apache-2.0
// tekken.json, Mistral's tokenizer file -> TokenizerData.
//
//   config          pattern (of words), default_vocab_size, default_num_special_tokens, version "v3" ...
//   vocab           [{rank, token_bytes (base64), token_str}], rank = place; the first 256 are the bytes
//   special_tokens  [{rank, token_str, is_control}]; before v8 it may be missing: then those of kOldSpecials
//
// Ids: the special tokens, filled up to default_num_special_tokens with <SPECIAL_i>; behind them
// the tokens by rank, as many as default_vocab_size leaves room for.
//
// Text is merged by the ranks of what is made: the neighbours whose bytes together have the lowest
// rank, leftmost first; a word that is a token is taken whole. As long as nothing outside a token's
// bytes takes part, these merge as they do alone, so each token has one last merge at most, and the
// list of these by rank gives the same ids.
#include <algorithm>
#include <array>
#include <numeric>

#include "core/error.h"
#include "format/json_input.h"
#include "text/base64.h"
#include "text/byte_alphabet.h"
#include "text/hf_files.h"
#include "text/merge_table.h"
#include "text/pretokenizer.h"
#include "text/vocabulary.h"

namespace espalier::text {
namespace {

constexpr std::array kOldSpecials = {"<unk>",
                                     "<s>",
                                     "</s>",
                                     "[INST]",
                                     "[/INST]",
                                     "[AVAILABLE_TOOLS]",
                                     "[/AVAILABLE_TOOLS]",
                                     "[TOOL_RESULTS]",
                                     "[/TOOL_RESULTS]",
                                     "[TOOL_CALLS]",
                                     "[IMG]",
                                     "<pad>",
                                     "[IMG_BREAK]",
                                     "[IMG_END]",
                                     "[PREFIX]",
                                     "[MIDDLE]",
                                     "[SUFFIX]",
                                     "[SYSTEM_PROMPT]",
                                     "[/SYSTEM_PROMPT]",
                                     "[TOOL_CONTENT]"};
constexpr int kLastVersionWithoutSpecials = 7;

std::string bytes_at(const JsonPlace& place) {
  std::optional<std::string> bytes = decode_base64(place.text());
  ESP_CHECK(bytes && !bytes->empty(), input, place.where(), " is ", shown(place.text()),
            ", which is no base64");
  return *std::move(bytes);
}

int version_of(const JsonPlace& config) {
  const std::string text = config.at("version").text();
  int version = 0;
  for (const char c : std::string_view(text).substr(text.empty() ? 0 : 1))
    version = c >= '0' && c <= '9' && version < 10000 ? version * 10 + (c - '0') : 100000;
  ESP_CHECK(text.starts_with('v') && version > 0 && version < 100000, input, config.where(),
            ".version is ", shown(text), ", expected v3, v7 or another number");
  return version;
}

std::int64_t size_of(const JsonPlace& config, const char* key) {
  const std::int64_t n = config.at(key).integer();
  ESP_CHECK(n > 0 && n <= std::int64_t{1} << 24, input, config.where(), ".", key, " is ", n,
            ", expected 1 to 16777216");
  return n;
}

void add_specials(const JsonPlace& root, std::int64_t n, TokenizerData& data) {
  data.tokens.assign(static_cast<std::size_t>(n), "");
  if (root.has("special_tokens")) {
    const JsonPlace list = root.at("special_tokens");
    for (std::size_t i = 0; i < list.array().size(); ++i) {
      const JsonPlace token = list.at(i);
      const std::int64_t rank = token.at("rank").integer();
      ESP_CHECK(rank >= 0 && rank < n, input, token.where(), ".rank is ", rank, ", outside the ", n,
                " special tokens");
      std::string& text = data.tokens[static_cast<std::size_t>(rank)];
      ESP_CHECK(text.empty(), input, token.where(), ": ", shown(text), " has the rank ", rank,
                " too");
      text = token.at("token_str").text();
      ESP_CHECK(!text.empty(), input, token.where(), ".token_str is empty");
    }
  } else {
    const int version = version_of(root.at("config"));
    ESP_CHECK(version <= kLastVersionWithoutSpecials, input, root.where(),
              " special_tokens is missing, which files of version v", version, " need");
    ESP_CHECK(n >= static_cast<std::int64_t>(kOldSpecials.size()), input, root.where(),
              " config.default_num_special_tokens is ", n, ", fewer than the ", kOldSpecials.size(),
              " that files of version v", version, " have");
    std::copy(kOldSpecials.begin(), kOldSpecials.end(), data.tokens.begin());
  }
  for (std::size_t i = 0; i < data.tokens.size(); ++i)
    if (data.tokens[i].empty()) data.tokens[i] = "<SPECIAL_" + std::to_string(i) + ">";
  data.types.assign(data.tokens.size(), TokenType::control);
}

// The tokens' bytes by rank.
std::vector<std::string> read_ranked(const JsonPlace& root, std::int64_t n) {
  const JsonPlace vocab = root.at("vocab");
  ESP_CHECK(static_cast<std::int64_t>(vocab.array().size()) >= n, input, vocab.where(), " has ",
            vocab.size(), " tokens, fewer than the ", n, " of default_vocab_size");
  std::vector<std::string> tokens;
  tokens.reserve(static_cast<std::size_t>(n));
  for (std::size_t i = 0; i < static_cast<std::size_t>(n); ++i) {
    const JsonPlace token = vocab.at(i);
    ESP_CHECK(token.at("rank").integer() == static_cast<std::int64_t>(i), input, token.where(),
              ".rank is ", token.at("rank").integer(), ", expected ", i);
    tokens.push_back(bytes_at(token.at("token_bytes")));
    const std::string& own = tokens.back();
    ESP_CHECK(i >= 256 || (own.size() == 1 && static_cast<unsigned char>(own[0]) == i), input,
              token.where(), ".token_bytes is not the byte ", i);
  }
  return tokens;
}

// Where the last merge of each token cuts it; 0: merging does not make it. The parts of a token are
// shorter than it is, so the merges of all shorter ones say how it merges alone.
std::vector<std::size_t> last_cuts(const std::vector<std::string>& tokens) {
  std::vector<std::uint32_t> by_length(tokens.size());
  std::iota(by_length.begin(), by_length.end(), 0u);
  std::stable_sort(by_length.begin(), by_length.end(), [&](std::uint32_t a, std::uint32_t b) {
    return tokens[a].size() < tokens[b].size();
  });
  std::vector<std::size_t> cuts(tokens.size(), 0);
  MergeTable table(tokens.size());
  Merger merger;
  std::vector<Symbol> word;
  for (const std::uint32_t rank : by_length) {
    word.clear();
    for (const char c : tokens[rank])
      word.push_back({static_cast<unsigned char>(c), static_cast<std::uint32_t>(word.size())});
    merger.apply(table, word);
    if (word.size() != 2) continue;
    cuts[rank] = word[1].start;
    table.add({word[0].id, word[1].id, rank, static_cast<std::int32_t>(rank)});
  }
  return cuts;
}

void add_ranked(const std::vector<std::string>& tokens, TokenizerData& data) {
  const std::vector<std::size_t> cuts = last_cuts(tokens);
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    data.tokens.push_back(symbols_of_bytes(tokens[i]));
    data.types.push_back(TokenType::normal);
    if (cuts[i] == 0) continue;
    const std::string_view token = tokens[i];
    data.merges.push_back(symbols_of_bytes(token.substr(0, cuts[i])) + " " +
                          symbols_of_bytes(token.substr(cuts[i])));
  }
}

}  // namespace

TokenizerData parse_hf_tekken(const HfFiles& files) {
  const std::string path = files.directory + "/tekken.json";
  const Json json = format::parse_json<Json>(files.tekken_json, path);
  const JsonPlace root(json, path + ":");
  const JsonPlace config = root.at("config");
  const std::string& pattern = config.at("pattern").text();
  const PreSpec* spec = find_pre_spec_by_pattern(pattern, true);
  ESP_CHECK(spec != nullptr, unsupported, config.where(),
            ".pattern is a regular expression that is not known: ", pattern.substr(0, 200),
            "; known are those of ", known_pre_names());
  TokenizerData data;
  data.kind = TokenizerKind::byte_bpe;
  data.pre = spec->name;
  data.ignore_merges = true;
  data.add_space_prefix = false;
  const std::int64_t n = size_of(config, "default_vocab_size"),
                     specials = size_of(config, "default_num_special_tokens");
  ESP_CHECK(specials < n, input, config.where(), ".default_num_special_tokens is ", specials,
            ", expected fewer than default_vocab_size, ", n);
  add_specials(root, specials, data);
  add_ranked(read_ranked(root, n - specials), data);
  const HfDefaults defaults{.named = {{"bos_token", "<s>"},
                                      {"eos_token", "</s>"},
                                      {"unk_token", "<unk>"},
                                      {"pad_token", "<pad>"}},
                            .add_bos = true};
  read_config(files, nullptr, defaults, data);
  apply_extra(files, data);
  check_tokenizer(data, path);
  return data;
}

}  // namespace espalier::text
