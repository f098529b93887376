// SPDX-License-Identifier: Apache-2.0
// The program as a user runs it: exit codes, messages that name the file, JSON keys.
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <array>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "core/file.h"
#include "runtime/plain_model.h"
#include "support/temp_dir.h"

namespace espalier {
namespace {

struct Ran {
  int code = -1;
  std::string out, err;
};

class Cli : public testing::Test {
 protected:
  Cli() {
    support::PlainModel model =
        support::random_model({.vocab = 300, .positions = 128, .layers = {{3, 2, 100}}}, 9);
    support::write_gguf(model, gguf());
    core::write_text_file(text(),
                          "The quick brown fox jumps over the lazy dog, again and again.\n");
  }
  std::string gguf() const { return dir_.file("m.gguf"); }
  std::string text() const { return dir_.file("t.txt"); }

  // `words` go through the shell: quoted where it matters.
  Ran run(const std::string& words) const {
    const std::string err = dir_.file("stderr");
    const std::string command =
        std::string(ESPALIER_BIN_DIR) + "/espalier-run " + words + " 2>" + err + " </dev/null";
    Ran ran;
    FILE* pipe = ::popen(command.c_str(), "r");
    if (pipe == nullptr) return ran;
    std::array<char, 4096> buffer;
    for (std::size_t n; (n = std::fread(buffer.data(), 1, buffer.size(), pipe)) > 0;)
      ran.out.append(buffer.data(), n);
    const int status = ::pclose(pipe);
    ran.code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    ran.err = core::read_text_file(err);
    return ran;
  }
  nlohmann::json json(const std::string& words) const {
    const Ran ran = run(words + " --json");
    EXPECT_EQ(ran.code, 0) << ran.err;
    return nlohmann::json::parse(ran.out, nullptr, false);
  }

  support::TempDir dir_;
};

TEST_F(Cli, WrongUseIsTwo) {
  const std::vector<std::string> lines = {
      "",
      "fly",
      "generate",
      "generate " + gguf() + " --prompt x --tokns 3",
      "generate " + gguf() + " --prompt x --tokens three",
      "generate " + gguf() + " --prompt x --temperature -1",
      "generate " + gguf() + " --prompt x --threads 5000",
      "generate " + gguf() + " --prompt x --context 129",
      "generate " + gguf() + " --prompt ''",
      "generate " + gguf() + " --prompt x --isa abacus",
      "generate " + gguf() + " --prompt x --prompt-file " + text(),
      "generate " + gguf() + " --prompt x --prompts " + text(),
      "generate " + gguf() + " --prompt x --min-p 2",
      "generate " + gguf() + " --prompt x --repeat-penalty 0",
      "generate " + gguf() + " --prompt x --stop ''",
      "generate " + gguf() + " --prompt x --draft " + gguf() + " --draft-tokens 0",
      "tokenize " + gguf(),
      "perplexity " + gguf(),
      "perplexity " + gguf() + " --text " + text() + " --protocol mine",
      "bench " + gguf() + " --prompt 0 --generate 0",
      "bench " + gguf() + " --prompt 129",
      "bench " + gguf() + " --kv f64"};
  ASSERT_EQ(lines.size(), 22u);
  for (const std::string& line : lines) {
    const Ran ran = run(line);
    EXPECT_EQ(ran.code, 2) << line << "\n" << ran.err;
    EXPECT_TRUE(ran.err.starts_with("espalier-run: ")) << ran.err;
    EXPECT_EQ(ran.out, "") << line;
  }
  EXPECT_NE(run("generate " + gguf() + " --prompt x --tokns 3").err.find("--tokns"),
            std::string::npos);
}

TEST_F(Cli, BadFilesAreThreeAndNamed) {
  const std::string cut = dir_.file("cut.gguf"), noise = dir_.file("noise.gguf");
  std::filesystem::copy_file(gguf(), cut);
  std::filesystem::resize_file(cut, std::filesystem::file_size(cut) / 2);
  core::write_text_file(noise, std::string(5000, 'x'));
  for (const std::string& path : {cut, noise, dir_.file("absent.gguf"), dir_.path()})
    for (const std::string& rest : {std::string(" --prompt x"), std::string()}) {
      const Ran ran = rest.empty() ? run("tokenize " + path + " --text " + text())
                                   : run("generate " + path + rest);
      EXPECT_EQ(ran.code, 3) << path << ": " << ran.err;
      EXPECT_NE(ran.err.find(path), std::string::npos) << ran.err;
    }
  const Ran no_text = run("perplexity " + gguf() + " --text " + dir_.file("absent.txt"));
  EXPECT_EQ(no_text.code, 3);
  EXPECT_NE(no_text.err.find("absent.txt"), std::string::npos);
  const Ran short_text = run("perplexity " + gguf() + " --text " + text() + " --context 100");
  EXPECT_EQ(short_text.code, 3);
  EXPECT_NE(short_text.err.find("one window of 100"), std::string::npos);
}

TEST_F(Cli, HelpAndVersion) {
  EXPECT_EQ(run("--help").code, 0);
  EXPECT_EQ(run("bench --help").code, 0);
  const Ran version = run("--version");
  EXPECT_EQ(version.code, 0);
  EXPECT_TRUE(version.out.starts_with("espalier-run ")) << version.out;
}

TEST_F(Cli, Generate) {
  const auto greedy = json("generate " + gguf() + " --prompt 'Hello' --tokens 20");
  EXPECT_EQ(greedy.at("prompt_tokens"), 5);
  EXPECT_LE(greedy.at("generated_tokens"), 20);
  EXPECT_EQ(greedy.at("ids").size(), greedy.at("generated_tokens"));
  EXPECT_TRUE(greedy.at("text").is_string());
  const std::string sampled =
      "generate " + gguf() +
      " --prompt Hello --tokens 20 --temperature 1.5 --top-k 50 --top-p 0.95";
  EXPECT_EQ(json(sampled + " --seed 1").at("ids"),
            json(sampled + " --seed 1 --threads 3").at("ids"));
  EXPECT_NE(json(sampled + " --seed 1").at("ids"), json(sampled + " --seed 2").at("ids"));
  const Ran streamed = run("generate " + gguf() + " --prompt Hello --tokens 20 --quiet");
  EXPECT_EQ(streamed.code, 0);
  EXPECT_EQ(streamed.err, "");
  EXPECT_EQ(json("generate " + gguf() + " --prompt-file " + text() + " --tokens 0")
                .at("generated_tokens"),
            0);
}

TEST_F(Cli, StopStringAndMinP) {
  const std::string base = "generate " + gguf() + " --prompt Hello --tokens 20";
  const auto whole = json(base);
  ASSERT_GE(whole.at("text").get<std::string>().size(), 8u);
  // Its first ASCII character from the fifth on ends the text where it stands first.
  const std::string text = whole.at("text");
  const std::size_t at = text.find_first_of(
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+-*/:.,;", 4);
  ASSERT_NE(at, std::string::npos) << text;
  const std::string stop = text.substr(at, 1);
  const auto stopped = json(base + " --stop 'never this' --stop '" + stop + "'");
  EXPECT_EQ(stopped.at("end"), "stop_string");
  EXPECT_EQ(stopped.at("text"), text.substr(0, text.find(stop)));
  EXPECT_EQ(stopped.at("ended"), false);
  const std::string sampled = base + " --temperature 2 --seed 3 --min-p 1";  // as good as greedy
  EXPECT_EQ(json(sampled).at("ids"), whole.at("ids"));
}

TEST_F(Cli, DraftReportsItsAcceptance) {
  const std::string base = "generate " + gguf() + " --prompt Hello --tokens 24";
  const auto alone = json(base), drafted = json(base + " --draft " + gguf() + " --draft-tokens 3");
  EXPECT_EQ(drafted.at("text"), alone.at("text"));
  EXPECT_EQ(drafted.at("acceptance_rate"), 1.0);
  EXPECT_EQ(drafted.at("accepted"), drafted.at("drafted"));
  EXPECT_FALSE(alone.contains("drafted"));
  const Ran told = run(base + " --draft " + gguf());
  EXPECT_NE(told.err.find("accepted (100 %)"), std::string::npos) << told.err;
  const std::string other = dir_.file("other.gguf");
  support::PlainModel model =
      support::random_model({.vocab = 301, .positions = 128, .layers = {{3, 2, 100}}}, 9);
  support::write_gguf(model, other);
  const Ran refused = run(base + " --draft " + other);
  EXPECT_EQ(refused.code, 3);
  EXPECT_NE(refused.err.find("vocabulary"), std::string::npos) << refused.err;
}

// Each prompt of a file as if it were alone, in order.
TEST_F(Cli, BatchOfPrompts) {
  const std::string file = dir_.file("prompts.txt"), lines_of_json = dir_.file("prompts.jsonl");
  core::write_text_file(file, "Hello\n\ntwo lines\r\n\"quoted\" only here\nHello\n");
  const std::string rest = " --tokens 6 --temperature 1 --seed 4";
  const auto batch = json("generate " + gguf() + " --prompts " + file + rest);
  ASSERT_EQ(batch.at("results").size(), 4u);
  const auto hello = json("generate " + gguf() + " --prompt Hello" + rest);
  EXPECT_EQ(batch.at("results")[0].at("ids"), hello.at("ids"));
  EXPECT_EQ(batch.at("results")[3], batch.at("results")[0]);
  EXPECT_EQ(batch.at("results")[1].at("prompt_tokens"), 9);
  EXPECT_EQ(batch.at("results")[2].at("prompt_tokens"), 18);
  EXPECT_EQ(batch.at("prompt_tokens"), 5 + 9 + 18 + 5);
  const Ran lines = run("generate " + gguf() + " --prompts " + file + rest + " --quiet");
  EXPECT_EQ(lines.code, 0) << lines.err;
  std::istringstream in(lines.out);
  std::size_t n = 0;
  for (std::string line; std::getline(in, line); ++n)
    EXPECT_EQ(nlohmann::json::parse(line), batch.at("results")[n]);
  EXPECT_EQ(n, 4u);
  // A quoted line keeps its quotes, and refuses no other; JSON is read where the name says so.
  core::write_text_file(file, "fine\n\"Go home\"\n\"Yes,\" she said, \"of course\"\n");
  const auto quoted = json("generate " + gguf() + " --prompts " + file + rest);
  ASSERT_EQ(quoted.at("results").size(), 3u);
  EXPECT_EQ(quoted.at("results")[1].at("prompt_tokens"), 9);
  EXPECT_EQ(quoted.at("notes").size(), 1u);
  core::write_text_file(lines_of_json, "\"two\\nlines\"\n{\"prompt\": \"Hello\"}\n");
  const auto parsed = json("generate " + gguf() + " --prompts " + lines_of_json + rest);
  EXPECT_EQ(parsed.at("results")[0].at("prompt_tokens"), 9);
  EXPECT_EQ(parsed.at("results")[1].at("ids"), hello.at("ids"));
  core::write_text_file(lines_of_json, "\"fine\"\n\"broken\\q\"\n");
  const Ran broken = run("generate " + gguf() + " --prompts " + lines_of_json);
  EXPECT_EQ(broken.code, 3);
  EXPECT_NE(broken.err.find("prompts.jsonl:2"), std::string::npos) << broken.err;
  core::write_text_file(file, "\n\n");
  EXPECT_EQ(run("generate " + gguf() + " --prompts " + file).code, 3);
}

TEST_F(Cli, TokenizeMessages) {
  const std::string file = dir_.file("messages.json");
  core::write_text_file(
      file, R"([{"role": "system", "content": "S"}, {"role": "user", "content": "U"}])");
  const auto found = json("tokenize " + gguf() + " --messages " + file);
  EXPECT_EQ(found.at("template"), "default");
  EXPECT_EQ(
      found.at("text"),
      "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU<|im_end|>\n<|im_start|>assistant\n");
  EXPECT_EQ(found.at("ids")[0], 1);
  core::write_text_file(file, R"([{"role": "user", "content": "<|im_end|>"}])");
  EXPECT_EQ(run("tokenize " + gguf() + " --messages " + file).code, 2);
  for (const char* wrong :
       {"{}", "[3]", R"([{"content": "x"}])", R"([{"role": "user", "content": 3}])", "["}) {
    core::write_text_file(file, wrong);
    EXPECT_EQ(run("tokenize " + gguf() + " --messages " + file).code, 3) << wrong;
  }
}

TEST_F(Cli, PerplexityBenchTokenize) {
  const auto ids = json("tokenize " + gguf() + " --text " + text()).at("ids");
  EXPECT_EQ(ids.size(), 62u);  // bytes of the text
  const auto windows = json("perplexity " + gguf() + " --text " + text() + " --context 20");
  EXPECT_EQ(windows.at("tokens"), 3 * 19);
  EXPECT_GT(windows.at("perplexity"), 1.0);
  const auto llama =
      json("perplexity " + gguf() + " --text " + text() + " --context 20 --protocol llama.cpp");
  EXPECT_EQ(llama.at("tokens"), 3 * 9);
  const auto bench = json("bench " + gguf() + " --prompt 16 --generate 8 --repeat 2 --threads 2");
  for (const char* key :
       {"prefill_tokens_per_second", "decode_tokens_per_second", "weight_bytes_per_token",
        "read_gb_per_second", "peak_rss_bytes", "read_bandwidth_gb_per_second",
        "int8_peak_gmac_per_second", "prefill_gmac_per_second"})
    EXPECT_GT(bench.at(key), 0) << key;
  EXPECT_TRUE(bench.at("isa").is_string());
  EXPECT_TRUE(bench.at("decode_joules_per_token").is_null() ||
              bench.at("decode_joules_per_token") > 0);
  EXPECT_EQ(json("bench " + gguf() + " --prompt 1 --generate 1 --repeat 1 --sustained 0.05")
                .at("sustained_tokens_per_second")
                .size(),
            10u);
  EXPECT_EQ(
      json("bench " + gguf() + " --prompt 4 --generate 4 --repeat 1 --isa reference").at("isa"),
      "reference");
}

TEST_F(Cli, Chat) {
  const std::string command = "printf 'hello\\nagain\\n' | " + std::string(ESPALIER_BIN_DIR) +
                              "/espalier-run chat " + gguf() +
                              " --tokens 8 --temperature 0 --json --quiet";
  FILE* pipe = ::popen(command.c_str(), "r");
  ASSERT_NE(pipe, nullptr);
  std::string out;
  std::array<char, 4096> buffer;
  for (std::size_t n; (n = std::fread(buffer.data(), 1, buffer.size(), pipe)) > 0;)
    out.append(buffer.data(), n);
  EXPECT_EQ(::pclose(pipe), 0);
  EXPECT_EQ(nlohmann::json::parse(out).at("replies").size(), 2u);
}

TEST_F(Cli, PackedFilesAreUsedAndSaidToBeStale) {
  const std::string q8 = dir_.file("q8.gguf");
  const auto write = [&](std::uint64_t seed) {
    support::PlainModel model = support::random_model(
        {.vocab = 300, .hidden = 64, .head_dim = 32, .positions = 128, .layers = {{1, 2, 96}}},
        seed);
    support::write_gguf(model, q8, format::FormatId::q8_0);
  };
  write(9);
  const std::string bench = "bench " + q8 + " --prompt 4 --generate 4 --repeat 1";
  EXPECT_TRUE(json(bench)["packed_file"].is_null());
  const nlohmann::json packed = json("pack " + q8);
  EXPECT_EQ(packed["matrices"], 8);
  EXPECT_EQ(packed["packed_file"], q8 + ".packed" + std::to_string(packed["rows"].get<int>()));
  EXPECT_EQ(packed["bytes"], std::filesystem::file_size(packed["packed_file"].get<std::string>()));
  EXPECT_EQ(json(bench)["packed_file"], packed["packed_file"]);
  const std::string generate = "generate " + q8 + " --prompt abc --tokens 4";
  EXPECT_EQ(run(generate).err.find("packed"), std::string::npos);
  write(10);
  EXPECT_TRUE(json(bench)["packed_file"].is_null());
  EXPECT_NE(run(generate).err.find("another version"), std::string::npos);
  EXPECT_EQ(run(generate + " --quiet").err, "");

  // Another model of the same size and time, as the model or as the draft.
  const std::string perplexity = "perplexity " + q8 + " --text " + text() + " --context 20";
  const auto expected = json(perplexity).at("perplexity");
  const std::filesystem::path packed_file = packed["packed_file"].get<std::string>();
  write(9);
  json("pack " + q8);
  const auto time = std::filesystem::last_write_time(q8);
  write(10);
  std::filesystem::last_write_time(q8, time);
  ASSERT_TRUE(std::filesystem::exists(packed_file));
  EXPECT_EQ(json(perplexity).at("perplexity"), expected);
  const Ran drafted = run("generate " + gguf() + " --prompt abc --tokens 4 --draft " + q8);
  EXPECT_EQ(drafted.code, 0) << drafted.err;
  EXPECT_NE(drafted.err.find("made from another version"), std::string::npos) << drafted.err;
}

}  // namespace
}  // namespace espalier
