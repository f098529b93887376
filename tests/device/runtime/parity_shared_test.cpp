// SPDX-License-Identifier: Apache-2.0
// A real model against stock llama.cpp: greedy text and perplexity on stories260K, golden values by
// scripts/golden/runtime.py.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "core/file.h"
#include "kernels/linear.h"
#include "runtime/perplexity.h"
#include "runtime/sampler.h"
#include "support/shared_files.h"

namespace espalier::runtime {
namespace {

class Stories : public testing::Test {
 protected:
  void SetUp() override {
    ESP_NEED_FILE(teacher_);
    golden_ = nlohmann::json::parse(core::read_text_file(
        std::string(ESPALIER_SOURCE_DIR "/tests/golden/runtime_stories260k.json")));
  }
  std::string teacher_ = support::shared_file("data/teachers/stories260K.gguf");
  nlohmann::json golden_;
};

TEST_F(Stories, GreedyTextIsLlamaCpps) {
  for (const std::string_view isa : kernels::isa_names()) {
    if (!kernels::isa_runnable(isa)) continue;
    Session session(teacher_, {.threads = 2, .isa = std::string(isa)});
    const auto& text = golden_.at("greedy");
    const std::string prompt = text.at("prompt");
    std::string out;
    std::span<const float> logits = session.prefill(session.tokenizer().encode(prompt));
    Sampler greedy({});
    for (int i = 0; i < text.at("tokens"); ++i) {
      const std::int32_t token = greedy.pick(logits);
      out += session.tokenizer().piece(token);
      logits = session.decode_step(token);
    }
    const std::string expected =
        text.at("text");  // as llama-completion printed it, which may end before the last token
    ASSERT_GT(expected.size(), prompt.size() + 80);
    EXPECT_EQ((prompt + out).substr(0, expected.size()), expected) << isa;
  }
}

TEST_F(Stories, PerplexityIsLlamaCpps) {
  const auto& expected = golden_.at("perplexity");
  const std::string text =
      core::read_text_file(support::shared_file("data/text/" + std::string(expected.at("text"))))
          .substr(0, expected.at("bytes"));
  Session session(
      teacher_,
      {.threads = 2, .context = expected.at("context"), .kv = SessionOptions::KvType::f32});
  const PerplexityResult result =
      perplexity(session, perplexity_stream(session.tokenizer(), {{text}}), expected.at("context"),
                 Protocol::llama_cpp);
  EXPECT_NEAR(result.perplexity / expected.at("value").get<double>(), 1, 1e-3);
  EXPECT_EQ(result.tokens, expected.at("scored"));
}

}  // namespace
}  // namespace espalier::runtime
