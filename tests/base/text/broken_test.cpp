// SPDX-License-Identifier: Apache-2.0
// Hand-broken tokenizers: each must be refused with a message that names the file and the place.
#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <optional>
#include <tuple>

#include "core/error.h"
#include "text/fixtures.h"

namespace espalier::text {
namespace {

using core::Error;
using core::ErrorKind;
using Json = nlohmann::json;

// The error of f, or an empty message when there was none.
std::pair<ErrorKind, std::string> error_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& error) {
    return {error.kind(), error.what()};
  }
  return {ErrorKind::internal, ""};
}

void expect_refusal(const std::string& name, const std::function<void()>& f, ErrorKind kind,
                    const std::string& file, const std::string& place) {
  const auto [found, message] = error_of(f);
  EXPECT_EQ(static_cast<int>(found), static_cast<int>(kind)) << name << ": " << message;
  EXPECT_NE(message.find(file), std::string::npos)
      << name << ": no '" << file << "' in: " << message;
  EXPECT_NE(message.find(place), std::string::npos)
      << name << ": no '" << place << "' in: " << message;
  EXPECT_LT(message.size(), 1000u) << name;
}

struct BrokenJson {
  const char *name, *fixture;
  std::function<void(Json&)> breakage;
  ErrorKind kind;
  const char* place;
};

// Of a token that several merges make, the first.
void leave_out_one_split(Json& json) {
  Json& merges = json["model"]["merges"];
  const auto result = [&merges](std::size_t i) {
    return merges[i][0].get<std::string>() + merges[i][1].get<std::string>();
  };
  for (std::size_t i = 0; i + 1 < merges.size(); ++i) {
    if (result(i) != result(i + 1)) continue;
    merges.erase(i);
    return;
  }
}

// All merges that make eight spaces, which are an added token.
void leave_out_longest_run(Json& json) {
  const std::string run = "\u2581\u2581\u2581\u2581\u2581\u2581\u2581\u2581";
  Json kept = Json::array();
  for (const Json& merge : json["model"]["merges"]) {
    if (merge[0].get<std::string>() + merge[1].get<std::string>() != run) kept.push_back(merge);
  }
  json["model"]["merges"] = kept;
}

TEST(Broken, TokenizerJson) {
  const auto in = ErrorKind::input, un = ErrorKind::unsupported;
  const std::vector<BrokenJson> cases = {
      {"huge_id", "gpt-2", [](Json& j) { j["added_tokens"][0]["id"] = 4000000000; }, in,
       "added_tokens[0]"},
      {"huge_vocab_id", "gpt-2", [](Json& j) { j["model"]["vocab"]["!"] = 4000000000; }, in,
       "model.vocab"},
      {"id_beyond_64_bits", "gpt-2", [](Json& j) { j["model"]["vocab"]["!"] = UINT64_MAX; }, in,
       "model.vocab '!'"},
      {"negative_id", "gpt-2", [](Json& j) { j["model"]["vocab"]["!"] = -1; }, in, "model.vocab"},
      {"fractional_id", "gpt-2", [](Json& j) { j["model"]["vocab"]["!"] = 1.5; }, in,
       "model.vocab"},
      {"two_tokens_one_id", "gpt-2",
       [](Json& j) { j["model"]["vocab"]["!"] = j["model"]["vocab"]["#"]; }, in, "both have id"},
      {"added_token_moved", "gpt-2", [](Json& j) { j["added_tokens"][0]["content"] = "!"; }, in,
       "added_tokens[0]"},
      {"empty_added_token", "gpt-2", [](Json& j) { j["added_tokens"][1]["content"] = ""; }, in,
       "added_tokens[1]"},
      {"empty_token", "gpt-2", [](Json& j) { j["model"]["vocab"][""] = 3; }, in, "model.vocab"},
      {"vocab_is_list", "gpt-2", [](Json& j) { j["model"]["vocab"] = Json::array({"a"}); }, in,
       "model.vocab"},
      {"no_vocab", "gpt-2", [](Json& j) { j["model"].erase("vocab"); }, in,
       "model.vocab is missing"},
      {"merge_of_unknown_token", "gpt-2",
       [](Json& j) { j["model"]["merges"][7] = Json::array({"zzz", "qqq"}); }, in, "merge 7"},
      {"merge_without_result", "gpt-2", [](Json& j) { j["model"]["merges"][7] = "# ~"; }, in,
       "merge 7"},
      {"merge_without_space", "gpt-2", [](Json& j) { j["model"]["merges"][3] = "ab"; }, in,
       "merge 3"},
      {"merge_of_three", "gpt-2",
       [](Json& j) { j["model"]["merges"][3] = Json::array({"a", "b", "c"}); }, in, "merges[3]"},
      {"merge_is_number", "gpt-2", [](Json& j) { j["model"]["merges"][3] = 5; }, in, "merges[3]"},
      {"merge_twice", "gpt-2", [](Json& j) { j["model"]["merges"][9] = j["model"]["merges"][2]; },
       in, "merge 9"},
      {"merges_missing", "gpt-2", [](Json& j) { j["model"].erase("merges"); }, in, "model.merges"},
      {"other_model", "gpt-2", [](Json& j) { j["model"]["type"] = "WordPiece"; }, un,
       "'WordPiece'"},
      {"dropout", "gpt-2", [](Json& j) { j["model"]["dropout"] = 0.1; }, un, "dropout"},
      {"word_suffix", "gpt-2", [](Json& j) { j["model"]["end_of_word_suffix"] = "</w>"; }, un,
       "end_of_word_suffix"},
      {"single_word", "gpt-2", [](Json& j) { j["added_tokens"][2]["single_word"] = true; }, un,
       "single_word"},
      {"other_pre_tokenizer", "gpt-2",
       [](Json& j) { j["pre_tokenizer"] = {{"type", "Whitespace"}}; }, un, "Whitespace"},
      {"prefix_space", "gpt-2", [](Json& j) { j["pre_tokenizer"]["add_prefix_space"] = true; }, un,
       "adds a space"},
      {"other_regex", "qwen2",
       [](Json& j) { j["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = "\\w+"; }, un,
       "\\w+"},
      {"split_removes", "qwen2",
       [](Json& j) { j["pre_tokenizer"]["pretokenizers"][0]["behavior"] = "Removed"; }, un,
       "'Removed'"},
      {"digits_together", "smollm",
       [](Json& j) { j["pre_tokenizer"]["pretokenizers"][0]["individual_digits"] = false; }, un,
       "Digits"},
      {"other_normalizer", "gpt-2", [](Json& j) { j["normalizer"] = {{"type", "Lowercase"}}; }, un,
       "Lowercase"},
      {"other_post_processor", "gpt-2",
       [](Json& j) { j["post_processor"] = {{"type", "BertProcessing"}}; }, un, "BertProcessing"},
      {"template_without_ids", "llama-bpe",
       [](Json& j) { j["post_processor"]["processors"][1]["special_tokens"] = Json::object(); }, in,
       "special_tokens"},
      {"template_id_out_of_range", "llama-bpe",
       [](Json& j) {
         j["post_processor"]["processors"][1]["special_tokens"]["<|endoftext|>"]["ids"][0] = 1
                                                                                             << 30;
       },
       un, "post_processor"},
      {"pre_tokenizer_is_text", "gpt-2", [](Json& j) { j["pre_tokenizer"] = "ByteLevel"; }, in,
       "pre_tokenizer"},
      {"added_tokens_is_object", "gpt-2", [](Json& j) { j["added_tokens"] = Json::object(); }, in,
       "added_tokens"},
      {"special_is_text", "gpt-2", [](Json& j) { j["added_tokens"][0]["special"] = "yes"; }, in,
       "added_tokens[0].special"},
      {"bytes_missing", "spm", [](Json& j) { j["model"]["vocab"].erase("<0x41>"); }, un, "<0x41>"},
      {"merges_are_not_scores", "spm", leave_out_one_split, un,
       "only merge lists that scores can express"},
      {"merges_in_disorder", "spm",
       [](Json& j) { j["model"]["merges"].push_back(j["model"]["merges"][0]); }, in,
       "was there before"},
      {"spm_normalizer", "spm",
       [](Json& j) { j["normalizer"]["normalizers"][0] = {{"type", "NFKC"}}; }, un, "NFKC"},
      {"runs_out_of_order", "gemma",
       [](Json& j) { std::swap(j["model"]["merges"][0], j["model"]["merges"][40]); }, un,
       "again after other tokens"},
      {"added_token_not_made", "gemma", leave_out_longest_run, un, "an added token with U+2581"},
      {"metaspace_splits", "metaspace", [](Json& j) { j["pre_tokenizer"]["split"] = true; }, un,
       "Metaspace"},
      {"no_byte_fallback", "spm", [](Json& j) { j["model"]["byte_fallback"] = false; }, un,
       "byte_fallback"},
  };
  EXPECT_EQ(cases.size(), 42u);
  for (const BrokenJson& broken : cases) {
    const support::TempDir directory;
    Json json = read_json(fixture_directory(broken.fixture) + "/tokenizer.json");
    core::write_text_file(
        directory.file("tokenizer_config.json"),
        core::read_text_file(fixture_directory(broken.fixture) + "/tokenizer_config.json"));
    core::write_text_file(directory.file("tokenizer.json"), json.dump());
    ASSERT_NO_THROW(tokenizer_from_hf(directory.path())) << broken.name;
    broken.breakage(json);
    core::write_text_file(directory.file("tokenizer.json"), json.dump());
    expect_refusal(
        broken.name, [&] { tokenizer_from_hf(directory.path()); }, broken.kind,
        directory.file("tokenizer.json"), broken.place);
  }
}

TEST(Broken, WholeFiles) {
  const std::string good = core::read_text_file(fixture_directory("gpt-2") + "/tokenizer.json");
  const std::vector<std::tuple<const char*, std::string, const char*>> cases = {
      {"empty", "", "the file is empty"},
      {"truncated", good.substr(0, good.size() / 2), "not JSON at byte"},
      {"broken_on_line_3", "{\n\"model\":\n[,]}", "tokenizer.json:3:"},
      {"broken_utf8", "{\"model\": \"\xC3(\"}", "not JSON"},
      {"nested_deeply", std::string(200000, '[') + std::string(200000, ']'), "levels of nesting"},
      {"nested_and_open", std::string(1000000, '{'), "levels of nesting"},
      {"array", "[1, 2]", "expected an object"},
      {"number", "17", "expected an object"},
      {"null", "null", "expected an object"},
      {"empty_vocab",
       R"({"model": {"vocab": {}, "merges": []}, "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false}})",
       "vocabulary is empty"},
  };
  EXPECT_EQ(cases.size(), 10u);
  for (const auto& [name, text, place] : cases) {
    const support::TempDir directory;
    core::write_text_file(directory.file("tokenizer.json"), text);
    expect_refusal(
        name, [&] { tokenizer_from_hf(directory.path()); }, ErrorKind::input,
        directory.file("tokenizer.json"), place);
  }
}

TEST(Broken, FilesBesideTokenizerJson) {
  const std::vector<std::tuple<const char*, const char*, std::string, const char*>> cases = {
      {"config_not_json", "tokenizer_config.json", "{", "not JSON"},
      {"config_nested_deeply", "tokenizer_config.json", std::string(100000, '['),
       "levels of nesting"},
      {"map_nested_deeply", "special_tokens_map.json", std::string(100000, '['),
       "levels of nesting"},
      {"extra_nested_deeply", "tokenizer_gguf.json", std::string(100000, '['), "levels of nesting"},
      {"config_is_list", "tokenizer_config.json", "[]", "expected an object"},
      {"eos_unknown", "tokenizer_config.json", R"({"eos_token": "<nowhere>"})", "'<nowhere>'"},
      {"eos_is_number", "tokenizer_config.json", R"({"eos_token": 5})", "eos_token"},
      {"template_is_number", "tokenizer_config.json", R"({"chat_template": 5})", "chat_template"},
      {"token_of_its_own", "tokenizer_config.json",
       R"({"added_tokens_decoder": {"700": {"content": "<own>"}}})", "<own>"},
      {"map_unknown", "special_tokens_map.json", R"({"bos_token": {"content": "<nowhere>"}})",
       "'<nowhere>'"},
      {"extra_types_short", "tokenizer_gguf.json", R"({"types": [1, 2]})", "2 types"},
      {"extra_type_wild", "tokenizer_gguf.json", R"({"types": [99]})", "expected 1 to 6"},
      {"extra_scores_text", "tokenizer_gguf.json", R"({"scores": ["a"]})", "no number"},
  };
  EXPECT_EQ(cases.size(), 13u);
  for (const auto& [name, file, text, place] : cases) {
    const support::TempDir directory;
    core::write_text_file(directory.file("tokenizer.json"),
                          core::read_text_file(fixture_directory("gpt-2") + "/tokenizer.json"));
    core::write_text_file(directory.file(file), text);
    const ErrorKind kind =
        std::string(name) == "token_of_its_own" ? ErrorKind::unsupported : ErrorKind::input;
    expect_refusal(
        name, [&] { tokenizer_from_hf(directory.path()); }, kind, directory.file(file), place);
  }
}

using format::GgufValue;

struct BrokenGguf {
  const char *name, *fixture, *key;
  std::optional<GgufValue> value;  // nullopt: the key is left out
  ErrorKind kind;
};

// What tokenizer_to_gguf writes, with one key changed.
std::string write_changed(const TokenizerData& data, const std::string& path,
                          const std::string& key, const std::optional<GgufValue>& value) {
  const support::TempDir directory;
  {
    format::GgufWriter writer(directory.file("whole.gguf"));
    tokenizer_to_gguf(data, writer);
    writer.begin();
    writer.finish();
  }
  const format::GgufHeader header =
      format::GgufHeader::read(core::FileReader(directory.file("whole.gguf")));
  format::GgufWriter writer(path);
  for (const auto& [name, old] : header.metadata()) {
    if (name != key) writer.set(name, old);
  }
  if (value) writer.set(key, *value);
  writer.begin();
  writer.finish();
  return path;
}

TEST(Broken, GgufMetadata) {
  const auto in = ErrorKind::input, un = ErrorKind::unsupported;
  const std::vector<BrokenGguf> cases = {
      {"no_model", "gpt-2", "tokenizer.ggml.model", std::nullopt, in},
      {"other_model", "gpt-2", "tokenizer.ggml.model", GgufValue::string("bert"), un},
      {"model_is_number", "gpt-2", "tokenizer.ggml.model", GgufValue::u32(1), in},
      {"no_pre", "gpt-2", "tokenizer.ggml.pre", std::nullopt, un},
      {"other_pre", "gpt-2", "tokenizer.ggml.pre", GgufValue::string("starcoder"), un},
      {"no_tokens", "gpt-2", "tokenizer.ggml.tokens", std::nullopt, in},
      {"tokens_are_numbers", "gpt-2", "tokenizer.ggml.tokens", GgufValue::i32s({1, 2, 3}), in},
      {"fewer_types", "gpt-2", "tokenizer.ggml.token_type", GgufValue::i32s({1, 1}), in},
      {"types_are_strings", "gpt-2", "tokenizer.ggml.token_type", GgufValue::strings({"a"}), in},
      {"no_merges", "gpt-2", "tokenizer.ggml.merges", std::nullopt, in},
      {"merge_of_nothing", "gpt-2", "tokenizer.ggml.merges", GgufValue::strings({" "}), in},
      {"merge_unknown", "gpt-2", "tokenizer.ggml.merges", GgufValue::strings({"zz qq"}), in},
      {"bos_out_of_range", "gpt-2", "tokenizer.ggml.bos_token_id", GgufValue::u32(4000000000u), in},
      {"eos_out_of_range", "gpt-2", "tokenizer.ggml.eos_token_id", GgufValue::u32(100000), in},
      {"pad_negative", "gpt-2", "tokenizer.ggml.padding_token_id", GgufValue::i32(-2), in},
      {"bos_is_text", "gpt-2", "tokenizer.ggml.bos_token_id", GgufValue::string("<s>"), in},
      {"add_bos_is_number", "gpt-2", "tokenizer.ggml.add_bos_token", GgufValue::u32(1), in},
      {"no_scores", "spm", "tokenizer.ggml.scores", std::nullopt, in},
      {"fewer_scores", "spm", "tokenizer.ggml.scores", GgufValue::f32s({0.0f, 1.0f}), in},
      {"scores_are_integers", "spm", "tokenizer.ggml.scores", GgufValue::i32s({1}), in},
      {"no_types", "spm", "tokenizer.ggml.token_type", std::nullopt, in},
      {"spm_pre", "spm", "tokenizer.ggml.pre", GgufValue::string("llama-bpe"), un},
      {"extra_spaces_removed", "spm", "tokenizer.ggml.remove_extra_whitespaces",
       GgufValue::boolean(true), un},
      {"rules_uneven", "gpt-2", "espalier.tokenizer.rule_flags", GgufValue::i32s({1}), in},
      {"rule_out_of_range", "gpt-2", "espalier.tokenizer.rule_ids", GgufValue::i32s({1, 1 << 20}),
       in},
      {"spaced_out_of_range", "gemma", "espalier.tokenizer.spaced_ids", GgufValue::i32s({1 << 20}),
       in},
      {"space_rule_unknown", "metaspace", "espalier.tokenizer.space_rule",
       GgufValue::string("last"), un},
  };
  EXPECT_EQ(cases.size(), 27u);
  for (const BrokenGguf& broken : cases) {
    const support::TempDir directory;
    const TokenizerData data = tokenizer_from_hf(fixture_directory(broken.fixture));
    const std::string path =
        write_changed(data, directory.file("broken.gguf"), broken.key, broken.value);
    const std::string key = broken.key;
    const std::string place = key.starts_with("espalier") || key.ends_with("merges") ||
                                      key.ends_with("token_type") || key.ends_with("scores")
                                  ? ""
                                  : key;
    expect_refusal(
        broken.name, [&] { tokenizer_from_gguf(format::GgufHeader::read(core::FileReader(path))); },
        broken.kind, path, place);
  }
}

TEST(Broken, DataMadeByHand) {
  const TokenizerData good = tokenizer_from_hf(fixture_directory("spm"));
  const std::vector<std::pair<const char*, std::function<void(TokenizerData&)>>> cases = {
      {"types missing", [](TokenizerData& d) { d.types.pop_back(); }},
      {"type out of range", [](TokenizerData& d) { d.types[5] = static_cast<TokenType>(9); }},
      {"token repeated", [](TokenizerData& d) { d.tokens[300] = d.tokens[301]; }},
      {"token empty", [](TokenizerData& d) { d.tokens[300].clear(); }},
      {"token not UTF-8", [](TokenizerData& d) { d.tokens[300].assign(1, '\xFF'); }},
      {"score not finite",
       [](TokenizerData& d) { d.scores[300] = std::numeric_limits<float>::quiet_NaN(); }},
      {"byte token misnamed", [](TokenizerData& d) { d.types[300] = TokenType::byte; }},
      {"BOS wanted, not named", [](TokenizerData& d) { d.bos.reset(); }},
      {"EOS out of range", [](TokenizerData& d) { d.eos = -5; }},
  };
  EXPECT_EQ(cases.size(), 9u);
  ASSERT_NO_THROW(Tokenizer{good});
  for (const auto& [name, breakage] : cases) {
    TokenizerData data = good;
    breakage(data);
    EXPECT_THROW(Tokenizer{data}, Error) << name;
    EXPECT_THROW(check_tokenizer(data, "here"), Error) << name;
  }
}

TEST(Broken, CallsThatAskForTooMuch) {
  TokenizerData data = tokenizer_from_hf(fixture_directory("gpt-2"));
  const Tokenizer tokenizer(data);
  EXPECT_THROW(tokenizer.piece(-1), Error);
  EXPECT_THROW(tokenizer.piece(static_cast<std::int32_t>(tokenizer.vocab_size())), Error);
  EXPECT_THROW(tokenizer.decode({1, 1 << 30}), Error);
  EXPECT_THROW(pad_vocabulary(data, tokenizer.vocab_size() - 1), Error);
  EXPECT_THROW(pad_vocabulary(data, std::int64_t{1} << 40), Error);
  EXPECT_THROW(tokenizer_from_hf("/nonexistent"), Error);
  EXPECT_FALSE(hf_directory_has_tokenizer("/nonexistent"));
}

}  // namespace
}  // namespace espalier::text
