// SPDX-License-Identifier: Apache-2.0
// What a session promises besides the right numbers: same bits for any number of threads, prefill
// equal to decode, no allocation in decode_step, refusals.
#include "runtime/session.h"

#include <gtest/gtest.h>

#include <cmath>

#include "core/error.h"
#include "kernels/linear.h"
#include "runtime/allocation_count.h"
#include "runtime/expect_error.h"
#include "runtime/plain_model.h"
#include "support/temp_dir.h"

namespace espalier::runtime {
namespace {

using support::expect_error;
using support::PlainSizes;

std::string write_model(const support::TempDir& dir, const PlainSizes& sizes,
                        format::FormatId format = format::FormatId::f32) {
  support::PlainModel model = support::random_model(sizes, 21);
  support::write_gguf(model, dir.file("m.gguf"), format);
  return dir.file("m.gguf");
}
const PlainSizes kQuantizable{
    .vocab = 300, .hidden = 256, .head_dim = 32, .layers = {{4, 2, 512}, {4, 2, 256}}};

std::vector<double> copy(std::span<const float> logits) { return {logits.begin(), logits.end()}; }

std::vector<float> all_logits(Session& session, const std::vector<std::int32_t>& tokens) {
  std::vector<float> out;
  session.reset();
  session.prefill_scored(tokens, 0, [&](std::int64_t, std::span<const float> logits) {
    out.insert(out.end(), logits.begin(), logits.end());
  });
  session.reset();
  for (const std::int32_t token : tokens) {
    const auto logits = session.decode_step(token);
    out.insert(out.end(), logits.begin(), logits.end());
  }
  return out;
}

TEST(Session, SameBitsForAnyNumberOfThreads) {
  support::TempDir dir;
  for (const auto format :
       {format::FormatId::f32, format::FormatId::q4_k, format::FormatId::q8_0}) {
    const std::string path = write_model(dir, kQuantizable, format);
    const auto tokens = support::random_tokens(70, 300, 1);
    std::vector<float> first;
    for (const int threads : {1, 2, 3}) {
      Session session(path, {.threads = threads});
      EXPECT_EQ(session.threads(), threads);
      const std::vector<float> logits = all_logits(session, tokens);
      if (first.empty())
        first = logits;
      else
        EXPECT_TRUE(first == logits) << threads << " threads, " << format::info(format).name;
    }
  }
}

// Formats that kernels read in place, and packed ones; a text longer than one piece of prefill.
TEST(Session, SameBitsLayerByLayer) {
  support::TempDir dir;
  PlainSizes sizes = kQuantizable;
  for (const bool tied : {true, false})
    for (const auto format :
         {format::FormatId::f32, format::FormatId::q4_k, format::FormatId::q8_0}) {
      sizes.tied = tied;
      const std::string path = write_model(dir, sizes, format);
      const auto tokens = support::random_tokens(600, 300, 1);
      const auto read = [&](const SessionOptions& options) {
        Session session(path, options);
        std::vector<float> out;
        session.prefill_scored(tokens, 130, [&](std::int64_t, std::span<const float> logits) {
          out.insert(out.end(), logits.begin(), logits.end());
        });
        session.reset();
        const auto last = copy(session.prefill(tokens));
        out.insert(out.end(), last.begin(), last.end());
        return out;
      };
      const std::vector<float> whole = read({.threads = 2}),
                               loaded = read({.threads = 2, .layer_by_layer = true});
      EXPECT_TRUE(whole == loaded) << format::info(format).name;
      Session session(path, {.layer_by_layer = true});
      EXPECT_TRUE(session.decode_step(tokens[0]).empty());
      Session all(path, {});
      EXPECT_EQ(session.weight_bytes_per_token(), all.weight_bytes_per_token());
    }
}

TEST(Session, LayersOfAFileThatChangesAreRefused) {
  support::TempDir dir;
  const std::string path = write_model(dir, kQuantizable, format::FormatId::q8_0);
  Session session(path, {.threads = 1, .layer_by_layer = true});
  write_model(dir, {.vocab = 300, .layers = {{3, 2, 100}}});
  const auto tokens = support::random_tokens(5, 300, 1);
  expect_error([&] { session.prefill(tokens); }, core::ErrorKind::input, {path, "replaced"});
}

// Longer than one piece of prefill, so that pieces meet; the KV cache is F32, hence only the order
// of additions differs.
TEST(Session, PrefillEqualsDecode) {
  // Measured: AVX2 1e-6, AVX-512 2.5e-6, NEON 3e-6. Lanes of other numbers add in other orders.
  const std::string isa = kernels::isa_name(kernels::select_isa());
  const double other_order = isa.starts_with("avx512") || isa.starts_with("neon") ? 4e-6 : 2e-6;
  support::TempDir dir;
  Session session(write_model(dir, {}), {.threads = 2, .kv = SessionOptions::KvType::f32});
  const auto tokens = support::random_tokens(300, 131, 2);
  std::vector<double> decoded;
  for (const std::int32_t token : tokens) decoded = copy(session.decode_step(token));
  session.reset();
  EXPECT_LT(support::relative_difference(copy(session.prefill(tokens)), decoded), other_order);
  EXPECT_EQ(session.position(), 300);

  session.reset();
  for (std::size_t at = 0; at < tokens.size(); at += 77)
    session.prefill({tokens.data() + at, std::min<std::size_t>(77, tokens.size() - at)});
  session.reset();
  session.prefill({tokens.data(), 150});
  EXPECT_LT(
      support::relative_difference(copy(session.prefill({tokens.data() + 150, 150})), decoded),
      other_order);
  // Control: one token more or less is another context.
  session.reset();
  EXPECT_GT(support::relative_difference(
                copy(session.prefill({tokens.data() + 1, tokens.size() - 1})), decoded),
            1e-3);
}

TEST(Session, ScoredTokensComeInOrderAndFromTheFirstAsked) {
  support::TempDir dir;
  Session session(write_model(dir, {}), {.threads = 1, .kv = SessionOptions::KvType::f32});
  const auto tokens = support::random_tokens(330, 131, 3);
  std::vector<std::int64_t> seen;
  std::vector<double> last, middle;
  session.prefill_scored(tokens, 250, [&](std::int64_t index, std::span<const float> logits) {
    seen.push_back(index);
    if (index == 255) middle = copy(logits);
    last = copy(logits);
  });
  ASSERT_EQ(seen.size(), 80u);
  for (std::size_t i = 0; i < seen.size(); ++i)
    EXPECT_EQ(seen[i], 250 + static_cast<std::int64_t>(i));
  session.reset();
  EXPECT_LT(support::relative_difference(copy(session.prefill(tokens)), last), 2e-6);
  session.reset();
  EXPECT_LT(support::relative_difference(copy(session.prefill({tokens.data(), 256})), middle),
            2e-6);
}

// Half precision keeps 11 bits: keys and values are off by 2^-12 on average, the logits by a few
// times that.
TEST(Session, HalfPrecisionCache) {
  support::TempDir dir;
  const std::string path = write_model(dir, {});
  Session full(path, {.threads = 1, .kv = SessionOptions::KvType::f32}), half(path, {.threads = 1});
  EXPECT_EQ(full.kv_bytes_per_token(), 2 * 2 * 3 * 12 * 4);
  EXPECT_EQ(half.kv_bytes_per_token(), 2 * 2 * 3 * 12 * 2);
  const auto tokens = support::random_tokens(50, 131, 4);
  const auto a = copy(full.prefill(tokens)), b = copy(half.prefill(tokens));
  EXPECT_LT(support::relative_difference(b, a), 2e-3);
  EXPECT_NE(a, b);
}

// 8 and 4 bits in blocks of 32: coarser, smaller, and the same tokens' logits nearby.
TEST(Session, CachesInBlocks) {
  support::TempDir dir;
  const std::string path = write_model(dir, kQuantizable);
  const std::int64_t head_dim = kQuantizable.head_dim;
  Session full(path, {.threads = 1, .kv = SessionOptions::KvType::f32}),
      eight(path, {.threads = 2, .kv = SessionOptions::KvType::q8_0}),
      four(path, {.threads = 2, .kv = SessionOptions::KvType::q4_0});
  const std::int64_t values = full.kv_bytes_per_token() / 4;
  ASSERT_EQ(head_dim % 32, 0);
  EXPECT_EQ(eight.kv_bytes_per_token(), values / 32 * 34);
  EXPECT_EQ(four.kv_bytes_per_token(), values / 32 * 18);
  const auto tokens = support::random_tokens(50, 300, 4);
  const auto a = copy(full.prefill(tokens)), b = copy(eight.prefill(tokens)),
             c = copy(four.prefill(tokens));
  EXPECT_LT(support::relative_difference(b, a), 0.02);
  EXPECT_LT(support::relative_difference(c, a), 0.5);  // steps of an eighth of the largest value
  EXPECT_GT(support::relative_difference(c, a), support::relative_difference(b, a));
  expect_error(
      [&] { Session(write_model(dir, {}), {.threads = 1, .kv = SessionOptions::KvType::q8_0}); },
      core::ErrorKind::unsupported, {"--kv q8_0", "12 values", "f16"});
}

TEST(Session, DecodeStepDoesNotAllocate) {
  support::TempDir dir;
  for (const auto format : {format::FormatId::f32, format::FormatId::q4_k}) {
    const std::string path = write_model(dir, kQuantizable, format);
    for (const auto kv : {SessionOptions::KvType::f16, SessionOptions::KvType::f32,
                          SessionOptions::KvType::q8_0, SessionOptions::KvType::q4_0}) {
      Session session(path, {.threads = 2, .kv = kv});
      session.prefill(support::random_tokens(10, 300, 5));
      const std::int64_t before = support::allocation_count();
      float sum = 0;
      for (std::int32_t i = 0; i < 100; ++i) sum += session.decode_step(i)[0];
      EXPECT_EQ(support::allocation_count(), before);
      EXPECT_TRUE(std::isfinite(sum));
    }
  }
  const std::int64_t before = support::allocation_count();  // control: the counter counts
  ::operator delete(::operator new(1));
  EXPECT_GT(support::allocation_count(), before);
}

// Tokens taken back leave no trace: what follows is the same to the bit.
TEST(Session, Rewind) {
  support::TempDir dir;
  for (const auto format : {format::FormatId::f32, format::FormatId::q8_0}) {
    Session session(write_model(dir, kQuantizable, format), {.threads = 2});
    const auto tokens = support::random_tokens(40, 300, 9);
    session.prefill({tokens.data(), 20});
    const auto first = copy(session.decode_step(tokens[20]));
    for (int i = 21; i < 40; ++i) session.decode_step(tokens[0]);
    EXPECT_EQ(session.earliest_rewind(), 0);
    session.rewind(20);
    EXPECT_EQ(session.position(), 20);
    EXPECT_EQ(copy(session.decode_step(tokens[20])), first);
    session.rewind(21);  // where it is
    EXPECT_EQ(session.position(), 21);
    expect_error([&] { session.rewind(22); }, core::ErrorKind::usage, {"rewind to 22", "0 to 21"});
    expect_error([&] { session.rewind(-1); }, core::ErrorKind::usage, {"rewind to -1"});
    session.rewind(0);
    session.prefill({tokens.data(), 20});
    EXPECT_EQ(copy(session.decode_step(tokens[20])), first);
  }
}

TEST(Session, FullContextAndWrongTokens) {
  support::TempDir dir;
  const std::string path = write_model(dir, {.positions = 50});
  Session session(path, {.threads = 1, .context = 20});
  EXPECT_EQ(session.context(), 20);
  const auto tokens = support::random_tokens(30, 131, 6);
  expect_error([&] { session.prefill(tokens); }, core::ErrorKind::usage, {"0 of 20 positions"});
  EXPECT_EQ(session.position(), 0);
  session.prefill({tokens.data(), 19});
  EXPECT_FALSE(session.decode_step(1).empty());
  EXPECT_TRUE(session.decode_step(1).empty());
  EXPECT_EQ(session.position(), 20);
  expect_error([&] { session.prefill({tokens.data(), 1}); }, core::ErrorKind::usage,
               {"20 of 20 positions"});
  session.reset();
  EXPECT_EQ(session.position(), 0);
  EXPECT_TRUE(session.decode_step(131).empty());
  EXPECT_TRUE(session.decode_step(-1).empty());
  expect_error([&] { session.prefill({}); }, core::ErrorKind::usage, {"no tokens"});
  const std::vector<std::int32_t> outside = {1, 131};
  expect_error([&] { session.prefill(outside); }, core::ErrorKind::usage, {"token 131"});
  expect_error([&] { Session(path, {.context = 51}); }, core::ErrorKind::usage,
               {"at most 50 positions"});
  EXPECT_EQ(Session(path, {}).context(), 50);
  expect_error([&] { Session(path, {.isa = "abacus"}); }, core::ErrorKind::usage, {"abacus"});
}

TEST(Session, TapsSeeEveryStep) {
  support::TempDir dir;
  Session session(write_model(dir, {}), {.threads = 1});
  const auto tokens = support::random_tokens(9, 131, 7);
  const auto untapped = copy(session.prefill(tokens));
  session.reset();
  std::vector<std::string> steps;
  session.set_tap([&](const char* step, int layer, std::span<const float> values, std::int64_t n) {
    const bool model_scope = layer < 0;
    const std::int64_t width = std::string(step) == "attn_mix"  ? 72
                               : std::string(step) == "ffn_act" ? 100
                                                                : 72;
    EXPECT_EQ(n, model_scope ? 1 : 9) << step;
    EXPECT_EQ(static_cast<std::int64_t>(values.size()), n * width) << step;
    if (layer <= 0) steps.emplace_back(step);
  });
  const auto tapped = copy(session.prefill(
      tokens));  // float sums differ in order: all rows are computed, not the last alone
  ASSERT_EQ(tapped.size(), untapped.size());
  for (std::size_t i = 0; i < tapped.size(); ++i) EXPECT_NEAR(tapped[i], untapped[i], 1e-4f);
  const std::vector<std::string> expected = {"layer_in", "attn_in",   "attn_mix",
                                             "attn_out", "ffn_in",    "ffn_act",
                                             "ffn_out",  "layer_out", "output_norm"};
  EXPECT_EQ(steps, expected);
  session.set_tap({});
  session.reset();
  session.prefill(tokens);
  EXPECT_EQ(steps.size(), expected.size());
}

TEST(Session, BytesPerToken) {
  support::TempDir dir;
  Session session(write_model(dir, {}), {.threads = 1});
  const std::int64_t layer = 72 * 72 * 2 + 36 * 72 * 2 + 3 * 72 * 100 + 2 * 72;
  EXPECT_EQ(session.weight_bytes_per_token(), 4 * (2 * layer + 131 * 72 + 72 + 72));
}

}  // namespace
}  // namespace espalier::runtime
