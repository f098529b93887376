// SPDX-License-Identifier: Apache-2.0
// Tokenizers without tokenizer.json: vocab.json with merges.txt, and tekken.json. Their ids are
// those of transformers' classes and of tiktoken (scripts/golden/vocabulary_files.py).
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <functional>

#include "core/error.h"
#include "core/notes.h"
#include "text/fixtures.h"

namespace espalier::text {
namespace {

namespace fs = std::filesystem;

std::string directory_of(const std::string& fixture) { return golden_path("vocab_" + fixture); }

struct Expected {
  const char *fixture, *pre;
  std::size_t tokens;
  std::int32_t bos, eos;  // -1: none
  bool add_bos, ignore_merges;
  const char* chat_template;  // begins so
};
// clang-format off
const std::vector<Expected> kFixtures = {
    {"gpt2",  "gpt-2",  500, 1,  0,   false, false, ""},
    {"qwen2", "qwen2",  508, -1, 502, false, false, "{% for"},
    {"tekken-v3",   "tekken", 532, 1,  2,   true,  true,  ""},
    {"tekken-v11",  "tekken", 517, 1,  2,   true,  true,  "{% for"}};
// clang-format on

void expect_golden(const Tokenizer& tokenizer, const std::string& fixture, const char* from) {
  const auto texts = stress_texts();
  const auto golden = golden_ids_in(directory_of(fixture));
  ASSERT_EQ(golden.size(), 27u);
  for (const auto& [name, ids] : golden) {
    EXPECT_EQ(tokenizer.encode(texts.at(name), true, false), ids.plain) << fixture << from << name;
    EXPECT_EQ(tokenizer.encode(texts.at(name), true, true), ids.parsed) << fixture << from << name;
    EXPECT_EQ(tokenizer.decode(ids.parsed, true), ids.decoded) << fixture << from << name;
  }
}

TEST(VocabularyFiles, IdsAreTheReferences) {
  for (const Expected& e : kFixtures) {
    const TokenizerData data = tokenizer_from_hf(directory_of(e.fixture));
    EXPECT_EQ(data.pre, e.pre);
    EXPECT_EQ(data.tokens.size(), e.tokens) << e.fixture;
    EXPECT_EQ(data.bos.value_or(-1), e.bos) << e.fixture;
    EXPECT_EQ(data.eos.value_or(-1), e.eos) << e.fixture;
    EXPECT_EQ(data.add_bos, e.add_bos) << e.fixture;
    EXPECT_EQ(data.ignore_merges, e.ignore_merges);
    EXPECT_EQ(data.chat_template.substr(0, 6), e.chat_template) << e.fixture;
    expect_golden(Tokenizer(data), e.fixture, " read: ");
    const TokenizerData from_gguf = through_gguf(data), from_hf = through_hf(data);
    EXPECT_TRUE(same_vocabulary(data, from_gguf));
    EXPECT_TRUE(same_vocabulary(data, from_hf));
    EXPECT_EQ(from_hf.chat_template, data.chat_template);
    expect_golden(Tokenizer(from_gguf), e.fixture, " from GGUF: ");
    expect_golden(Tokenizer(from_hf), e.fixture, " from tokenizer.json: ");
  }
}

TEST(VocabularyFiles, TheTextsTellTheTokenizersApart) {
  for (const Expected& e : kFixtures) {
    TokenizerData data = tokenizer_from_hf(directory_of(e.fixture));
    const auto differences = [&](const TokenizerData& changed) {
      const Tokenizer tokenizer(changed);
      int n = 0;
      const auto texts = stress_texts();
      for (const auto& [name, ids] : golden_ids_in(directory_of(e.fixture)))
        n += tokenizer.encode(texts.at(name), true, false) != ids.plain;
      return n;
    };
    TokenizerData other = data;
    other.pre = data.pre == "gpt-2" ? "qwen2" : "gpt-2";
    EXPECT_GT(differences(other), 2) << e.fixture;
    other = data;
    std::reverse(other.merges.begin(), other.merges.end());
    EXPECT_GT(differences(other), 2) << e.fixture;
    if (!data.ignore_merges) continue;
    other = data;
    other.ignore_merges = false;
    const std::vector<std::int32_t> whole = Tokenizer(data).encode("Mistral", false),
                                    merged = Tokenizer(other).encode("Mistral", false);
    EXPECT_EQ(whole.size(), 1u) << "a word that is a token is taken whole";
    EXPECT_GT(merged.size(), 1u);
  }
}

// A directory with some of a fixture's files and others instead.
class Directory {
 public:
  explicit Directory(const std::string& fixture = "") {
    if (fixture.empty()) return;
    for (const auto& entry : fs::directory_iterator(directory_of(fixture)))
      if (entry.path().filename() != "golden.json")
        fs::copy_file(entry.path(), file(entry.path().filename().string()));
  }
  std::string file(const std::string& name) const { return dir_.file(name); }
  Directory& write(const std::string& name, const std::string& text) {
    core::write_text_file(file(name), text);
    return *this;
  }
  Directory& change(const std::string& name, const std::function<void(nlohmann::json&)>& f) {
    nlohmann::json json = read_json(file(name));
    f(json);
    return write(name, json.dump());
  }
  Directory& remove(const std::string& name) {
    fs::remove(file(name));
    return *this;
  }
  TokenizerData read() const { return tokenizer_from_hf(dir_.path()); }
  const std::string& path() const { return dir_.path(); }

 private:
  support::TempDir dir_;
};

void expect_refused(const Directory& d, core::ErrorKind kind, const std::string& words) {
  EXPECT_TRUE(hf_directory_has_tokenizer(d.path())) << words << ": or it would be passed over";
  try {
    d.read();
    ADD_FAILURE() << "not refused: " << words;
  } catch (const core::Error& e) {
    EXPECT_EQ(e.kind(), kind) << e.what();
    EXPECT_NE(std::string(e.what()).find(words), std::string::npos) << e.what();
  }
}

constexpr auto kInput = core::ErrorKind::input;
constexpr auto kUnsupported = core::ErrorKind::unsupported;

TEST(VocabularyFiles, TheClassSaysHowTextIsCut) {
  Directory d("gpt2");
  d.write("config.json", R"({"model_type": "llama"})");
  expect_refused(d, kUnsupported, "tokenizer_class is missing");
  d.write("config.json", R"({"model_type": "qwen3"})");
  EXPECT_EQ(d.read().pre, "qwen2");
  d.write("config.json", R"({"model_type": "qwen3", "tokenizer_class": "GPT2Tokenizer"})");
  EXPECT_EQ(d.read().pre, "gpt-2");
  d.write("tokenizer_config.json", R"({"tokenizer_class": "Qwen2TokenizerFast"})");
  EXPECT_EQ(d.read().pre, "qwen2");
  EXPECT_TRUE(d.read().nfc);
  for (const char* other :
       {"PreTrainedTokenizerFast", "CodeGenTokenizer", "RobertaTokenizerFast"}) {
    d.write("tokenizer_config.json", std::string(R"({"tokenizer_class": ")") + other + "\"}");
    expect_refused(d, kUnsupported, other);
  }
  d.write("tokenizer_config.json",
          R"({"tokenizer_class": "GPT2Tokenizer", "add_prefix_space": true})");
  expect_refused(d, kUnsupported, "add_prefix_space");
}

TEST(VocabularyFiles, SmallFilesNameTokens) {
  Directory d("gpt2");
  d.remove("special_tokens_map.json");
  EXPECT_EQ(d.read().bos, 0) << "what the class names where the files are silent";
  EXPECT_EQ(d.read().unk, 0);
  EXPECT_FALSE(d.read().pad);
  d.write("tokenizer_config.json", R"({"bos_token": null, "add_bos_token": true})");
  EXPECT_FALSE(d.read().bos) << "null is not silence";
  EXPECT_FALSE(d.read().add_bos);
  d.write("tokenizer_config.json", R"({"bos_token": "<s>", "add_bos_token": true})");
  EXPECT_TRUE(d.read().add_bos);
  EXPECT_EQ(d.read().types[1], TokenType::control);
  d.write("tokenizer_config.json", R"({"additional_special_tokens": ["<|gone|>"]})");
  expect_refused(d, kInput, "<|gone|>");
  d.write("tokenizer_config.json", "{}").write("added_tokens.json", R"({"<|user|>": 500})");
  EXPECT_EQ(d.read().tokens.at(500), "<|user|>");
  EXPECT_EQ(d.read().types.at(500), TokenType::user_defined);
  EXPECT_EQ(hf_vocabulary_files(d.path()),
            (std::vector<std::string>{"vocab.json", "merges.txt", "added_tokens.json"}));
}

TEST(VocabularyFiles, BrokenOnesAreRefused) {
  const auto gpt2 = [](const std::function<void(Directory&)>& breakage, const std::string& words,
                       core::ErrorKind kind = kInput) {
    Directory d("gpt2");
    breakage(d);
    expect_refused(d, kind, words);
  };
  gpt2([](Directory& d) { d.remove("merges.txt"); }, "merges.txt: cannot open");
  gpt2([](Directory& d) { d.remove("vocab.json"); }, "vocab.json: cannot open");
  gpt2([](Directory& d) { d.write("vocab.json", ""); }, "vocab.json: the file is empty");
  gpt2([](Directory& d) { d.write("merges.txt", ""); }, "merges.txt: the file is empty");
  gpt2([](Directory& d) { d.write("tokenizer_config.json", ""); },
       "tokenizer_config.json: the file is empty");
  gpt2([](Directory& d) { d.write("merges.txt", "#version: 0.2\nt h\nh e r\n"); },
       "merges.txt:3: 'h e r'");
  gpt2([](Directory& d) { d.write("merges.txt", "#version: 0.2\nt h\n\nh e\n"); },
       "merges.txt:3: ''");
  gpt2([](Directory& d) { d.write("merges.txt", "t qq\n"); }, "'qq' is not a token");
  gpt2([](Directory& d) { d.write("vocab.json", "[1]"); }, "expected an object");
  gpt2([](Directory& d) { d.change("vocab.json", [](auto& j) { j["a"] = 1; }); }, "both have id 1");
  gpt2([](Directory& d) { d.change("vocab.json", [](auto& j) { j["a"] = -1; }); }, "has id -1");
  gpt2([](Directory& d) { d.change("vocab.json", [](auto& j) { j["a"] = "x"; }); },
       "expected an integer");

  const auto tekken = [](const std::function<void(nlohmann::json&)>& change,
                         const std::string& words, core::ErrorKind kind = kInput) {
    Directory d("tekken-v11");
    d.change("tekken.json", change);
    expect_refused(d, kind, words);
  };
  tekken([](auto& j) { j.erase("vocab"); }, "vocab is missing");
  tekken([](auto& j) { j["config"].erase("pattern"); }, "config.pattern is missing");
  tekken([](auto& j) { j["config"]["pattern"] = "\\w+"; }, "\\w+", kUnsupported);
  tekken([](auto& j) { j["config"]["default_vocab_size"] = 5000; }, "fewer than the 4988");
  tekken([](auto& j) { j["config"]["default_num_special_tokens"] = 5000; }, "fewer than");
  tekken([](auto& j) { j["config"]["default_vocab_size"] = std::int64_t{1} << 60; }, "expected 1");
  tekken([](auto& j) { j.erase("special_tokens"); }, "special_tokens is missing");
  tekken([](auto& j) { j["special_tokens"][3]["rank"] = 2; }, "has the rank 2 too");
  tekken([](auto& j) { j["special_tokens"][3]["rank"] = 12; }, "outside the 12");
  tekken([](auto& j) { j["vocab"][300]["rank"] = 301; }, "expected 300");
  tekken([](auto& j) { j["vocab"][300]["token_bytes"] = "YQ="; }, "no base64");
  tekken([](auto& j) { j["vocab"][300]["token_bytes"] = "Y!=="; }, "no base64");
  tekken([](auto& j) { j["vocab"][300]["token_bytes"] = "YQ=="; }, "are the same");
  tekken([](auto& j) { j["vocab"][65]["token_bytes"] = "YQ=="; }, "is not the byte 65");
  tekken(
      [](auto& j) {
        j["config"]["version"] = "next";
        j.erase("special_tokens");
      },
      "version");
  Directory empty;
  empty.write("tekken.json", "");
  expect_refused(empty, kInput, "tekken.json: the file is empty");
}

// A file that is there is never passed over for another one.
TEST(VocabularyFiles, TheFirstOneCountsEvenIfItIsBroken) {
  for (const char* first : {"tokenizer.json", "tokenizer.model"}) {
    Directory d("gpt2");
    d.write(first, "");
    expect_refused(d, kInput, std::string(first) + ": the file is empty");
    d.write(first, "version https://git-lfs.github.com/spec/v1");
    expect_refused(d, kInput, first);
    d.remove(first);
    fs::create_symlink(d.file("gone"), d.file(first));
    expect_refused(d, kInput, std::string(first) + ": cannot open");
  }
  Directory both("tekken-v3");
  both.write("tokenizer.json",
             core::read_text_file(fixture_directory("gpt-2") + "/tokenizer.json"));
  EXPECT_EQ(both.read().pre, "gpt-2");
}

TEST(VocabularyFiles, WithoutAnyItIsSaidWhatWasLookedFor) {
  Directory d;
  d.write("config.json", "{}").write("qwen.tiktoken", "x").write("tokenizer.model.v3", "x");
  EXPECT_FALSE(hf_directory_has_tokenizer(d.path()));
  try {
    d.read();
    ADD_FAILURE();
  } catch (const core::Error& e) {
    EXPECT_EQ(e.kind(), kInput);
    for (const char* name : {"tokenizer.json", "tokenizer.model", "vocab.json", "merges.txt",
                             "tekken.json", "not supported: qwen.tiktoken, tokenizer.model.v3"})
      EXPECT_NE(std::string(e.what()).find(name), std::string::npos) << e.what();
  }
}

std::int64_t notes_with(const std::string& part) {
  const std::vector<std::string> all = core::notes();
  return std::count_if(all.begin(), all.end(), [&](const std::string& note) {
    return note.find(part) != std::string::npos;
  });
}

TEST(VocabularyFiles, EqualChatTemplatesNeedNoNote) {
  Directory d("gpt2");
  d.write("tokenizer_config.json", R"({"chat_template": "{{ same }}"})");
  d.write("chat_template.jinja", "{{ same }}")
      .write("chat_template.json", R"({"chat_template": "{{ same }}"})");
  EXPECT_EQ(d.read().chat_template, "{{ same }}");
  EXPECT_EQ(notes_with(d.path()), 0);
  d.write("tokenizer_config.json",
          R"({"chat_template": [{"name": "default", "template": "{{ same }}"},
      {"name": "rag", "template": "R"}]})");
  EXPECT_EQ(d.read().chat_template, "{{ same }}");
  EXPECT_EQ(notes_with(d.path() + ": the chat template 'rag' of tokenizer_config.json is not read"),
            1);
}

TEST(VocabularyFiles, ChatTemplatesTravel) {
  Directory d("gpt2");
  d.write("chat_template.json", R"({"chat_template": "{{ old }}"})");
  EXPECT_EQ(d.read().chat_template, "{{ old }}");
  d.write("tokenizer_config.json", R"({"chat_template": "{{ config }}"})");
  EXPECT_EQ(d.read().chat_template, "{{ config }}");
  d.write("chat_template.jinja", "{{ jinja }}");
  d.write("additional_chat_templates/rag.jinja", "{{ rag }}");
  d.write("additional_chat_templates/tool_use.jinja", "{{ tools }}");
  const TokenizerData data = d.read(), after = through_hf(data);
  EXPECT_EQ(data.chat_template, "{{ jinja }}");
  EXPECT_EQ(after.chat_template, "{{ jinja }}");
  // Which of the different ones was read is said, once each.
  for (const char* note :
       {": tokenizer_config.json and chat_template.json hold different chat templates; that of "
        "tokenizer_config.json is read",
        ": chat_template.jinja and tokenizer_config.json hold different chat templates; that of "
        "chat_template.jinja is read",
        ": chat_template.jinja and chat_template.json hold different"})
    EXPECT_EQ(notes_with(d.path() + note), 1) << note;
  ASSERT_EQ(after.hf_named_templates.size(), 2u);
  EXPECT_EQ(after.hf_named_templates, data.hf_named_templates);
  EXPECT_EQ(after.hf_named_templates[1].second, "{{ tools }}");
}

TEST(VocabularyFiles, NamedChatTemplatesOfAListTravel) {
  Directory d("gpt2");
  d.write("tokenizer_config.json", R"({"chat_template": [{"name": "tool_use", "template": "T"},
      {"name": "default", "template": "D"}, {"name": "../x", "template": "X"}]})");
  const TokenizerData data = d.read(), after = through_hf(data);
  const NamedTemplates named = {{"___x", "X"}, {"tool_use", "T"}};
  EXPECT_EQ(data.chat_template, "D");
  EXPECT_EQ(data.hf_named_templates, named);
  EXPECT_EQ(after.chat_template, "D");
  EXPECT_EQ(after.hf_named_templates, named);
  // Changed data go to files of their own, the default template with them.
  TokenizerData changed = data;
  changed.chat_template = "E";
  EXPECT_EQ(through_hf(changed).chat_template, "E");
  EXPECT_EQ(through_hf(changed).hf_named_templates, named);
  d.write("tokenizer_config.json", R"({"chat_template": [{"name": "rag", "template": "R"}]})");
  EXPECT_EQ(d.read().chat_template, "");
  EXPECT_EQ(d.read().hf_named_templates, (NamedTemplates{{"rag", "R"}}));
}

TEST(VocabularyFiles, WritingLeavesNoOtherTokenizerBehind) {
  Directory d("tekken-v3");
  Directory gpt2("gpt2");
  d.write("additional_chat_templates/rag.jinja", "{{ rag }}");
  tokenizer_to_hf(gpt2.read(), d.path());
  for (const char* name : {"tekken.json", "vocab.json", "merges.txt", "additional_chat_templates"})
    EXPECT_FALSE(fs::exists(d.file(name))) << name;
  EXPECT_TRUE(same_vocabulary(d.read(), gpt2.read()));
}

}  // namespace
}  // namespace espalier::text
