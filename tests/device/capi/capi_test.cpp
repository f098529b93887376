// SPDX-License-Identifier: Apache-2.0
// The C interface: the same numbers as the session's, buffers that are too short, arguments that
// make no sense, errors of each thread.
#include <espalier/espalier.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "core/file.h"
#include "runtime/generator.h"
#include "support/rewrite_gguf.h"
#include "support/temp_dir.h"
#include "support/tiny_model.h"

namespace espalier {
namespace {

class CApi : public testing::Test {
 protected:
  CApi() {
    support::write_tiny_llama_gguf(path());
    espalier_options options;
    EXPECT_EQ(espalier_options_init(&options, sizeof options), ESPALIER_OK);
    options.threads = 1;
    EXPECT_EQ(espalier_load(path().c_str(), &options, &session_), ESPALIER_OK) << espalier_error();
  }
  ~CApi() override { espalier_free(session_); }
  std::string path() const { return dir_.file("m.gguf"); }
  std::vector<std::int32_t> tokens(const std::string& text) {
    std::size_t n = 0;
    EXPECT_EQ(
        espalier_tokenize(session_, text.data(), text.size(), ESPALIER_ADD_SPECIAL, nullptr, 0, &n),
        text.empty() ? ESPALIER_OK : ESPALIER_SHORT_BUFFER);
    std::vector<std::int32_t> out(n);
    EXPECT_EQ(espalier_tokenize(session_, text.data(), text.size(), ESPALIER_ADD_SPECIAL,
                                out.data(), n, &n),
              ESPALIER_OK)
        << espalier_error();
    return out;
  }
  espalier_info info() {
    espalier_info out;
    EXPECT_EQ(espalier_get_info(session_, &out, sizeof out), ESPALIER_OK) << espalier_error();
    return out;
  }

  support::TempDir dir_;
  espalier_session* session_ = nullptr;
};

bool says(const char* part) {
  return std::string(espalier_error()).find(part) != std::string::npos;
}
int append(const char* text, std::size_t n, void* user) {
  static_cast<std::string*>(user)->append(text, n);
  return 0;
}

TEST_F(CApi, Options) {
  espalier_options o;
  espalier_options_init(&o, sizeof o);
  o.kv = ESPALIER_KV_F32;
  o.pin = 1;
  o.threads = 2;
  espalier_session* other = nullptr;
  ASSERT_EQ(espalier_load(path().c_str(), &o, &other), ESPALIER_OK) << espalier_error();
  espalier_info out;
  EXPECT_EQ(espalier_get_info(other, &out, sizeof out), ESPALIER_OK);
  EXPECT_EQ(out.kv_bytes_per_token, 2 * info().kv_bytes_per_token);
  EXPECT_EQ(out.threads, 2);
  espalier_free(other);
  o.kv = ESPALIER_KV_Q8_0;  // of heads of 16 values there are no blocks
  EXPECT_EQ(espalier_load(path().c_str(), &o, &other), ESPALIER_UNSUPPORTED);
  EXPECT_TRUE(says("q8_0")) << espalier_error();
}

TEST_F(CApi, Info) {
  const espalier_info i = info();
  EXPECT_STREQ(i.architecture, "llama");
  EXPECT_EQ(i.vocab, 320);
  EXPECT_EQ(i.layers, 2);
  EXPECT_EQ(i.hidden, 64);
  EXPECT_EQ(i.head_dim, 16);
  EXPECT_EQ(i.positions, 256);
  EXPECT_EQ(i.context, 256);
  EXPECT_EQ(i.position, 0);
  EXPECT_EQ(i.kv_bytes_per_token, 2 * 2 * 2 * 16 * 2);
  EXPECT_GT(i.weight_bytes_per_token, 0);
  EXPECT_EQ(i.threads, 1);
  EXPECT_EQ(i.has_chat_template, 1);
  EXPECT_STREQ(i.packed_file, "");
  EXPECT_STREQ(i.packed_refusal, "");
  EXPECT_STREQ(espalier_error(), "");
  EXPECT_EQ(std::string(espalier_version()).find('.'), 1u);
}

TEST_F(CApi, AModelWrittenToWhileInUseIsAnErrorAndNothingIsPrinted) {
  testing::internal::CaptureStdout();
  testing::internal::CaptureStderr();
  const std::vector<std::int32_t> prompt = tokens("Some text");
  espalier_generate_options o;
  espalier_generate_options_init(&o, sizeof o);
  o.tokens = 3;
  const auto generate = [&] {
    return espalier_generate(session_, prompt.data(), prompt.size(), &o, nullptr, nullptr, nullptr,
                             0);
  };
  EXPECT_EQ(generate(), ESPALIER_OK) << espalier_error();
  std::filesystem::last_write_time(path(), {});
  EXPECT_EQ(generate(), ESPALIER_INPUT);
  EXPECT_TRUE(says("written to while it was in use")) << espalier_error();
  espalier_session* other = nullptr;
  EXPECT_EQ(espalier_load("/nowhere", nullptr, &other), ESPALIER_INPUT);
  EXPECT_EQ(testing::internal::GetCapturedStdout(), "");
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
}

TEST_F(CApi, TokensThereAndBack) {
  const std::string text = "Some text, caf\xC3\xA9.";
  const std::vector<std::int32_t> ids = tokens(text);
  runtime::Session session(path(), {.threads = 1});
  EXPECT_EQ(ids, session.tokenizer().encode(text));
  std::size_t n = 0;
  std::vector<char> out(text.size() + 1, 'x');
  EXPECT_EQ(espalier_detokenize(session_, ids.data(), ids.size(), out.data(), text.size(), &n),
            ESPALIER_SHORT_BUFFER);  // no room for the zero byte
  EXPECT_EQ(n, text.size());
  EXPECT_EQ(out.front(), 'x');
  EXPECT_EQ(espalier_detokenize(session_, ids.data(), ids.size(), out.data(), out.size(), &n),
            ESPALIER_OK);
  EXPECT_STREQ(out.data(), text.c_str());
  const std::int32_t outside = 320;
  EXPECT_EQ(espalier_detokenize(session_, &outside, 1, out.data(), out.size(), &n), ESPALIER_USAGE);
  EXPECT_TRUE(says("token 320")) << espalier_error();
  EXPECT_EQ(espalier_tokenize(session_, "a", 1, 8, nullptr, 0, &n), ESPALIER_USAGE);

  const espalier_message messages[] = {{"system", "S"}, {"user", "U"}};
  std::vector<std::int32_t> chat(64);
  ASSERT_EQ(espalier_tokenize_chat(session_, messages, 2, chat.data(), chat.size(), &n),
            ESPALIER_OK)
      << espalier_error();
  chat.resize(n);
  EXPECT_EQ(std::count(chat.begin(), chat.end(), 1), 3);

  const std::string json =
      R"({"messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "U"}]})";
  std::vector<std::int32_t> from_json(64);
  ASSERT_EQ(espalier_tokenize_chat_json(session_, json.data(), json.size(), from_json.data(),
                                        from_json.size(), &n),
            ESPALIER_OK)
      << espalier_error();
  from_json.resize(n);
  EXPECT_EQ(from_json, chat);
  EXPECT_EQ(espalier_tokenize_chat_json(session_, "[5]", 3, nullptr, 0, &n), ESPALIER_INPUT);
  EXPECT_TRUE(says("message 1")) << espalier_error();
  EXPECT_EQ(espalier_tokenize_chat_json(session_, nullptr, 3, nullptr, 0, &n), ESPALIER_USAGE);
}

TEST_F(CApi, LogitsAreTheSessions) {
  const std::vector<std::int32_t> ids = tokens("hello there");
  runtime::Session session(path(), {.threads = 1});
  std::vector<float> logits(320), short_of_one(319, -1.0f);
  EXPECT_EQ(
      espalier_prefill(session_, ids.data(), ids.size(), short_of_one.data(), short_of_one.size()),
      ESPALIER_SHORT_BUFFER);
  EXPECT_EQ(short_of_one, std::vector<float>(319, -1.0f));
  EXPECT_EQ(info().position, 0);  // nothing was read
  ASSERT_EQ(espalier_prefill(session_, ids.data(), ids.size(), logits.data(), logits.size()),
            ESPALIER_OK)
      << espalier_error();
  const auto expected = session.prefill(ids);
  EXPECT_TRUE(std::equal(logits.begin(), logits.end(), expected.begin(), expected.end()));
  ASSERT_EQ(espalier_decode(session_, 7, logits.data(), logits.size()), ESPALIER_OK);
  const auto next = session.decode_step(7);
  EXPECT_TRUE(std::equal(logits.begin(), logits.end(), next.begin(), next.end()));
  const auto position = static_cast<std::int64_t>(ids.size());
  EXPECT_EQ(info().position, position + 1);
  EXPECT_EQ(espalier_rewind(session_, position), ESPALIER_OK);
  std::vector<float> again(320);
  EXPECT_EQ(espalier_decode(session_, 7, again.data(), again.size()), ESPALIER_OK);
  EXPECT_EQ(again, logits);
  EXPECT_EQ(espalier_rewind(session_, position + 2), ESPALIER_USAGE);
  EXPECT_EQ(espalier_rewind(session_, 0), ESPALIER_OK);
  EXPECT_EQ(info().position, 0);
  EXPECT_EQ(espalier_decode(session_, 320, nullptr, 0), ESPALIER_USAGE);
  for (int i = 0; i < 256; ++i)
    ASSERT_EQ(espalier_decode(session_, 5, nullptr, 0), ESPALIER_OK) << i;
  EXPECT_EQ(espalier_decode(session_, 5, nullptr, 0), ESPALIER_USAGE);
  EXPECT_TRUE(says("256 of 256")) << espalier_error();
}

TEST_F(CApi, GenerateIsTheGenerators) {
  const std::vector<std::int32_t> ids = tokens("hello");
  runtime::Session session(path(), {.threads = 1});
  runtime::TokenReader reader(session);
  espalier_generate_options o;
  ASSERT_EQ(espalier_generate_options_init(&o, sizeof o), ESPALIER_OK);
  EXPECT_EQ(o.tokens, 128);
  EXPECT_EQ(o.top_p, 1);
  o.tokens = 40;
  for (const double temperature : {0.0, 1.2}) {
    o.temperature = temperature;
    o.min_p = 0.01;
    o.seed = 5;
    runtime::Sampler sampler({.temperature = temperature, .min_p = 0.01, .seed = 5});
    const runtime::Generated expected =
        runtime::Generator(reader).run(ids, sampler, {.tokens = 40}, {});
    std::string text;
    espalier_result result;
    ASSERT_EQ(espalier_generate(session_, ids.data(), ids.size(), &o, append, &text, &result,
                                sizeof result),
              ESPALIER_OK)
        << espalier_error();
    EXPECT_EQ(text, expected.text);
    EXPECT_EQ(result.generated_tokens, static_cast<std::int64_t>(expected.tokens.size()));
    EXPECT_EQ(result.end, static_cast<int>(expected.end));
    EXPECT_EQ(result.drafted, 0);
    // With itself as the draft (another session of it): the same text at temperature 0, every guess
    // right.
    if (temperature > 0) continue;
    espalier_session* draft = nullptr;
    ASSERT_EQ(espalier_load(path().c_str(), nullptr, &draft), ESPALIER_OK);
    o.draft = draft;
    std::string drafted;
    EXPECT_EQ(espalier_generate(session_, ids.data(), ids.size(), &o, append, &drafted, &result,
                                sizeof result),
              ESPALIER_OK)
        << espalier_error();
    EXPECT_EQ(drafted, text);
    EXPECT_EQ(result.accepted, result.judged);
    EXPECT_GT(result.accepted, 0);
    o.draft = session_;
    EXPECT_EQ(espalier_generate(session_, ids.data(), ids.size(), &o, append, &drafted, nullptr, 0),
              ESPALIER_USAGE);
    o.draft = nullptr;
    espalier_free(draft);
  }
  espalier_result result;
  EXPECT_EQ(espalier_generate(
                session_, ids.data(), ids.size(), nullptr,
                [](const char*, std::size_t, void*) { return 1; }, nullptr, &result, sizeof result),
            ESPALIER_OK);
  EXPECT_EQ(result.end, ESPALIER_END_CALLER);
  const char* stops[] = {"x", ""};
  o.stops = stops;
  o.n_stops = 2;
  EXPECT_EQ(espalier_generate(session_, ids.data(), ids.size(), &o, nullptr, nullptr, nullptr, 0),
            ESPALIER_USAGE);
  EXPECT_TRUE(says("--stop")) << espalier_error();
}

TEST_F(CApi, WhatMakesNoSense) {
  espalier_session* none = reinterpret_cast<espalier_session*>(8);
  EXPECT_EQ(espalier_load(dir_.file("absent.gguf").c_str(), nullptr, &none), ESPALIER_INPUT);
  EXPECT_EQ(none, nullptr);
  EXPECT_TRUE(says("absent.gguf")) << espalier_error();
  EXPECT_EQ(espalier_load(nullptr, nullptr, &none), ESPALIER_USAGE);
  EXPECT_EQ(espalier_load(path().c_str(), nullptr, nullptr), ESPALIER_USAGE);
  espalier_options o;
  espalier_options_init(&o, sizeof o);
  o.isa = "abacus";
  EXPECT_EQ(espalier_load(path().c_str(), &o, &none), ESPALIER_USAGE);
  EXPECT_TRUE(says("abacus"));
  espalier_options_init(&o, sizeof o);
  o.kv = 4;
  EXPECT_EQ(espalier_load(path().c_str(), &o, &none), ESPALIER_USAGE);
  std::memset(&o, 0, sizeof o);
  EXPECT_EQ(espalier_load(path().c_str(), &o, &none), ESPALIER_USAGE);
  EXPECT_TRUE(says("espalier_options_init")) << espalier_error();
  EXPECT_EQ(espalier_options_init(nullptr, sizeof o), ESPALIER_USAGE);
  EXPECT_EQ(espalier_options_init(&o, 0), ESPALIER_USAGE);
  espalier_free(nullptr);

  std::size_t n = 0;
  const std::int32_t token = 5;
  EXPECT_EQ(espalier_tokenize(nullptr, "a", 1, 0, nullptr, 0, &n), ESPALIER_USAGE);
  EXPECT_EQ(espalier_tokenize(session_, nullptr, 1, 0, nullptr, 0, &n), ESPALIER_USAGE);
  EXPECT_EQ(espalier_tokenize(session_, "a", 1, 0, nullptr, 0, nullptr), ESPALIER_USAGE);
  EXPECT_EQ(espalier_tokenize(session_, "a", 1, 0, nullptr, 9, &n), ESPALIER_USAGE);
  EXPECT_EQ(espalier_prefill(session_, nullptr, 3, nullptr, 0), ESPALIER_USAGE);
  EXPECT_EQ(espalier_prefill(session_, &token, 0, nullptr, 0), ESPALIER_USAGE);
  EXPECT_EQ(espalier_prefill(session_, &token, 1, nullptr, 7), ESPALIER_USAGE);
  EXPECT_EQ(espalier_get_info(session_, nullptr, sizeof(espalier_info)), ESPALIER_USAGE);
  EXPECT_EQ(espalier_generate(session_, nullptr, 0, nullptr, nullptr, nullptr, nullptr, 0),
            ESPALIER_USAGE);
  EXPECT_EQ(espalier_rewind(nullptr, 0), ESPALIER_USAGE);
  const espalier_message wrong = {"user", nullptr};
  EXPECT_EQ(espalier_tokenize_chat(session_, &wrong, 1, nullptr, 0, &n), ESPALIER_USAGE);
  EXPECT_TRUE(says("content is NULL"));
}

// Programs built with another version's structures: shorter ones get what they know, longer ones
// zeros behind it.
TEST_F(CApi, StructuresOfOtherVersions) {
  struct {
    espalier_info info;
    std::int64_t later;
  } longer;
  std::memset(&longer, 0xff, sizeof longer);
  ASSERT_EQ(espalier_get_info(session_, &longer.info, sizeof longer), ESPALIER_OK);
  EXPECT_EQ(longer.info.vocab, 320);
  EXPECT_EQ(longer.info.struct_size, sizeof longer);
  EXPECT_EQ(longer.later, 0);
  espalier_info shorter;
  std::memset(&shorter, 0xff, sizeof shorter);
  ASSERT_EQ(espalier_get_info(session_, &shorter, offsetof(espalier_info, layers)), ESPALIER_OK);
  EXPECT_EQ(shorter.vocab, 320);
  EXPECT_EQ(shorter.layers, -1);
  espalier_options old;
  ASSERT_EQ(espalier_options_init(&old, offsetof(espalier_options, isa)), ESPALIER_OK);
  old.isa = reinterpret_cast<const char*>(1);  // not part of it: not looked at
  old.context = 32;
  espalier_session* session = nullptr;
  ASSERT_EQ(espalier_load(path().c_str(), &old, &session), ESPALIER_OK) << espalier_error();
  espalier_info i;
  ASSERT_EQ(espalier_get_info(session, &i, sizeof i), ESPALIER_OK);
  EXPECT_EQ(i.context, 32);
  espalier_free(session);
}

TEST_F(CApi, ASplitModelIsOpenedByItsFirstPart) {
  const std::vector<std::string> parts =
      support::rewrite_gguf(path(), dir_.file("s.gguf"), {}, 100 << 10);
  ASSERT_GT(parts.size(), 2u);
  espalier_session* split = nullptr;
  ASSERT_EQ(espalier_load(parts.front().c_str(), nullptr, &split), ESPALIER_OK) << espalier_error();
  const std::int32_t ids[] = {5, 6, 7};
  std::vector<float> whole(320), parted(320);
  ASSERT_EQ(espalier_prefill(session_, ids, 3, whole.data(), whole.size()), ESPALIER_OK);
  ASSERT_EQ(espalier_prefill(split, ids, 3, parted.data(), parted.size()), ESPALIER_OK);
  EXPECT_EQ(parted, whole);
  espalier_info of_whole = info(), of_split;
  ASSERT_EQ(espalier_get_info(split, &of_split, sizeof of_split), ESPALIER_OK);
  EXPECT_EQ(of_split.weight_bytes_per_token, of_whole.weight_bytes_per_token);
  espalier_free(split);
  EXPECT_EQ(espalier_load(parts[1].c_str(), nullptr, &split), ESPALIER_INPUT);
  EXPECT_TRUE(says("open the first part")) << espalier_error();
  EXPECT_EQ(split, nullptr);
  std::filesystem::remove(parts.back());
  EXPECT_EQ(espalier_load(parts.front().c_str(), nullptr, &split), ESPALIER_INPUT);
  EXPECT_TRUE(says("is missing")) << espalier_error();
}

// Who brings token ids needs no tokenizer; who asks for text is told why there is none.
TEST_F(CApi, IdsWorkWithoutATokenizerThatIsKnown) {
  std::string bytes = core::read_text_file(path());
  const std::string key = "tokenizer.ggml.model";
  bytes.at(bytes.find(key) + key.size() + 4 + 8) =
      'x';  // the first letter of its value, behind type and length
  const std::string other = dir_.file("other.gguf");
  std::ofstream(other, std::ios::binary) << bytes;

  espalier_session* session = nullptr;
  ASSERT_EQ(espalier_load(other.c_str(), nullptr, &session), ESPALIER_OK) << espalier_error();
  const std::int32_t ids[] = {5, 6, 7};
  std::vector<float> logits(320);
  EXPECT_EQ(espalier_prefill(session, ids, 3, logits.data(), logits.size()), ESPALIER_OK)
      << espalier_error();
  std::size_t n = 0;
  EXPECT_EQ(espalier_tokenize(session, "a", 1, 0, nullptr, 0, &n), ESPALIER_UNSUPPORTED);
  EXPECT_TRUE(says(key.c_str())) << espalier_error();
  espalier_free(session);
}

TEST_F(CApi, ErrorsBelongToTheirThread) {
  EXPECT_EQ(espalier_rewind(session_, 99), ESPALIER_USAGE);
  const std::string mine = espalier_error();
  ASSERT_FALSE(mine.empty());
  std::thread([] {
    EXPECT_STREQ(espalier_error(), "");
    espalier_session* none = nullptr;
    EXPECT_EQ(espalier_load("/nowhere/x.gguf", nullptr, &none), ESPALIER_INPUT);
    EXPECT_TRUE(says("/nowhere/x.gguf"));
  }).join();
  EXPECT_EQ(espalier_error(), mine);
}

}  // namespace
}  // namespace espalier
