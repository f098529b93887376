// SPDX-License-Identifier: Apache-2.0
#include "runtime/perplexity.h"

#include <gtest/gtest.h>

#include <cmath>

#include "runtime/bench.h"
#include "runtime/expect_error.h"
#include "runtime/plain_model.h"
#include "support/temp_dir.h"

namespace espalier::runtime {
namespace {

using core::ErrorKind;

constexpr std::int64_t kContext = 16;
const support::PlainSizes kSizes{.vocab = 300, .layers = {{3, 2, 100}}};

std::string text(std::size_t n) {
  std::string out;
  while (out.size() < n) out += static_cast<char>('a' + out.size() * 7 % 26);
  return out;
}

struct Opened {
  support::TempDir dir;
  support::PlainModel model = support::random_model(kSizes, 8);
  std::unique_ptr<Session> session;

  Opened() {
    support::write_gguf(model, dir.file("m.gguf"));
    session = std::make_unique<Session>(
        dir.file("m.gguf"),
        SessionOptions{.threads = 2, .context = 32, .kv = SessionOptions::KvType::f32});
  }
};

TEST(Perplexity, Windows) {
  const Opened o;
  const text::Tokenizer& tokenizer = o.session->tokenizer();
  // One token a letter; 50 letters and a newline that is dropped: three windows of 16.
  const auto windows = perplexity_windows(perplexity_stream(tokenizer, {{text(50) + "\n"}}),
                                          kContext, Protocol::windows);
  ASSERT_EQ(windows.size(), 3u);
  const std::vector<std::int32_t> ids = tokenizer.encode(text(50));
  for (std::size_t w = 0; w < 3; ++w) {
    EXPECT_EQ(windows[w].first_scored, 0);
    EXPECT_EQ(windows[w].tokens,
              std::vector<std::int32_t>(ids.begin() + static_cast<std::ptrdiff_t>(16 * w),
                                        ids.begin() + static_cast<std::ptrdiff_t>(16 * w + 16)));
  }
  EXPECT_EQ(
      perplexity_windows(perplexity_stream(tokenizer, {{text(50)}}), kContext, Protocol::llama_cpp)
          .front()
          .first_scored,
      8);
  // Fewer windows are spread evenly: 2 of 5 are the first and the third.
  const auto all =
      perplexity_windows(perplexity_stream(tokenizer, {{text(90)}}), kContext, Protocol::windows);
  const auto some = perplexity_windows(perplexity_stream(tokenizer, {{text(90)}}), kContext,
                                       Protocol::windows, 2);
  ASSERT_EQ(all.size(), 5u);
  ASSERT_EQ(some.size(), 2u);
  EXPECT_EQ(some[0].tokens, all[0].tokens);
  EXPECT_EQ(some[1].tokens, all[2].tokens);
  EXPECT_EQ(
      perplexity_windows(perplexity_stream(tokenizer, {{text(90)}}), kContext, Protocol::windows, 9)
          .size(),
      5u);
  EXPECT_EQ(perplexity_windows(perplexity_stream(tokenizer, {{text(48) + "\n"}}), kContext,
                               Protocol::windows)
                .size(),
            3u);
  support::expect_error(
      [&] {
        perplexity_windows(perplexity_stream(tokenizer, {{text(15)}}), kContext, Protocol::windows);
      },
      ErrorKind::input, {"15 tokens", "16"});
  support::expect_error(
      [&] { perplexity_windows(perplexity_stream(tokenizer, {{text(15)}}), 3, Protocol::windows); },
      ErrorKind::usage, {"--context 3"});

  text::TokenizerData with_bos =
      text::tokenizer_from_gguf(format::GgufHeader::read(core::FileReader(o.dir.file("m.gguf"))));
  with_bos.add_bos = true;
  const auto bos = perplexity_windows(perplexity_stream(text::Tokenizer(with_bos), {{text(50)}}),
                                      kContext, Protocol::windows);
  ASSERT_EQ(bos.size(), 3u);
  for (const PerplexityWindow& w : bos) EXPECT_EQ(w.tokens.front(), 1);
  EXPECT_EQ(bos[1].tokens[1], ids[16]);  // the BOS in front has moved every token by one place

  // EOS is for the end of a document, which a window need not hold.
  with_bos.add_eos = true;
  EXPECT_EQ(perplexity_stream(text::Tokenizer(with_bos), {{text(50)}}).tokens.size(), 51u);
}

TEST(Perplexity, Names) {
  EXPECT_EQ(protocol_by_name("windows"), Protocol::windows);
  EXPECT_EQ(protocol_by_name("llama.cpp"), Protocol::llama_cpp);
  support::expect_error([] { protocol_by_name("llama"); }, ErrorKind::usage,
                        {"'llama'", "llama.cpp"});
}

TEST(Perplexity, NegativeLogLikelihood) {
  const std::vector<float> logits = {1, 2, 3, -1, 0, 100};
  EXPECT_NEAR(negative_log_likelihood(logits, 5), 0, 1e-12);
  EXPECT_NEAR(negative_log_likelihood(logits, 0), 99, 1e-12);
  const std::vector<float> flat(1000, 7.5f);
  EXPECT_NEAR(negative_log_likelihood(flat, 3), std::log(1000.0), 1e-12);
}

TEST(Perplexity, EqualsThePlainForwardPass) {
  Opened o;
  for (const Protocol protocol : {Protocol::windows, Protocol::llama_cpp}) {
    double total = 0;
    std::int64_t n = 0;
    for (const PerplexityWindow& window : perplexity_windows(
             perplexity_stream(o.session->tokenizer(), {{text(50)}}), kContext, protocol)) {
      const std::vector<double> logits = support::plain_logits(o.model, window.tokens);
      for (std::int64_t t = window.first_scored; t + 1 < kContext; ++t) {
        const double* row = logits.data() + t * kSizes.vocab;
        double sum = 0;
        for (std::int64_t v = 0; v < kSizes.vocab; ++v) sum += std::exp(row[v]);
        total += std::log(sum) - row[window.tokens[static_cast<std::size_t>(t + 1)]];
        ++n;
      }
    }
    std::int64_t calls = 0;
    const PerplexityResult result = perplexity(
        *o.session, perplexity_stream(o.session->tokenizer(), {{text(50)}}), kContext, protocol, 0,
        {.progress = [&](std::int64_t done, std::int64_t all, double so_far) {
          EXPECT_EQ(done, ++calls);
          EXPECT_EQ(all, 3);
          EXPECT_GT(so_far, 1);
        }});
    EXPECT_EQ(calls, 3);
    EXPECT_EQ(result.tokens, n);
    EXPECT_EQ(n, protocol == Protocol::windows ? 45 : 21);
    EXPECT_NEAR(result.mean_nll, total / static_cast<double>(n), 1e-5);
    EXPECT_NEAR(result.perplexity, std::exp(result.mean_nll), 1e-9);
  }
  support::expect_error(
      [&] {
        perplexity(*o.session, perplexity_stream(o.session->tokenizer(), {{text(90)}}), 33,
                   Protocol::windows);
      },
      ErrorKind::usage, {"33", "32 positions"});
}

TEST(Bench, MeasuresWhatWasAsked) {
  Opened o;
  const BenchResult r = bench(*o.session, {.prompt = 20, .generate = 6, .depth = 4, .repeat = 3});
  EXPECT_GT(r.prefill_tokens_per_second, 0);
  EXPECT_LE(r.prefill_min, r.prefill_tokens_per_second);
  EXPECT_LE(r.prefill_tokens_per_second, r.prefill_max);
  EXPECT_LE(r.decode_min, r.decode_tokens_per_second);
  EXPECT_LE(r.decode_tokens_per_second, r.decode_max);
  EXPECT_EQ(r.weight_bytes_per_token, o.session->weight_bytes_per_token());
  EXPECT_NEAR(r.read_gb_per_second,
              r.decode_tokens_per_second * static_cast<double>(r.weight_bytes_per_token) * 1e-9,
              1e-12);
  EXPECT_GT(r.peak_rss_bytes, 1 << 20);
  EXPECT_EQ(o.session->position(), 0);
  EXPECT_GT(r.read_bandwidth_gb_per_second.value(), 0.01);
  EXPECT_GT(r.int8_peak_gmac_per_second, 0.01);
  EXPECT_NEAR(
      r.prefill_gmac_per_second,
      r.prefill_tokens_per_second * static_cast<double>(o.session->layer_macs_per_token()) * 1e-9,
      1e-12);
  EXPECT_TRUE(r.sustained_tokens_per_second.empty());
  EXPECT_EQ(bench(*o.session, {.prompt = 1, .generate = 0, .repeat = 1, .sustained_seconds = 0.02})
                .sustained_tokens_per_second.size(),
            10u);
  EXPECT_EQ(bench(*o.session, {.prompt = 0, .generate = 3, .repeat = 1}).prefill_tokens_per_second,
            0);
  EXPECT_EQ(bench(*o.session, {.prompt = 3, .generate = 0, .repeat = 1}).decode_tokens_per_second,
            0);
  support::expect_error([&] { bench(*o.session, {.prompt = 30, .generate = 1, .depth = 3}); },
                        ErrorKind::usage, {"33 tokens", "32"});
  support::expect_error([&] { bench(*o.session, {.prompt = 0, .generate = 0}); }, ErrorKind::usage,
                        {"nothing to measure"});
}

}  // namespace
}  // namespace espalier::runtime
