// SPDX-License-Identifier: Apache-2.0
// Windows are a pure function of seed and index and cover the text; overlaps are found exactly.
#include "data/corpus.h"

#include <gtest/gtest.h>

#include <set>

#include "core/error.h"
#include "core/file.h"
#include "core/rng.h"
#include "hash/sha256.h"
#include "support/growth.h"
#include "support/temp_dir.h"

namespace espalier::data {
namespace {

// Byte fallback alone: every byte of the text is one token, so token positions are byte positions.
text::TokenizerData byte_tokenizer_data() {
  text::TokenizerData data;
  data.kind = text::TokenizerKind::spm;
  data.tokens = {"<unk>", "<s>", "</s>"};
  data.types = {text::TokenType::unknown, text::TokenType::control, text::TokenType::control};
  static const char* digits = "0123456789ABCDEF";
  for (int b = 0; b < 256; ++b) {
    data.tokens.push_back(std::string("<0x") + digits[b / 16] + digits[b % 16] + ">");
    data.types.push_back(text::TokenType::byte);
  }
  data.scores.assign(data.tokens.size(), 0.0f);
  data.unk = 0;
  data.bos = 1;
  data.eos = 2;
  data.add_bos = true;
  data.add_space_prefix = false;
  return data;
}
text::Tokenizer byte_tokenizer() { return text::Tokenizer(byte_tokenizer_data()); }
Corpus random_corpus(std::int64_t n, std::uint64_t seed) {
  Corpus c{"random", "", {}};
  core::Rng rng(seed);
  for (std::int64_t i = 0; i < n; ++i)
    c.tokens.push_back(static_cast<std::int32_t>(3 + rng.below(256)));
  return c;
}
void paste(Corpus& into, std::int64_t at, const Corpus& from, std::int64_t begin, std::int64_t n) {
  std::copy_n(from.tokens.begin() + begin, n, into.tokens.begin() + at);
}

TEST(Corpus, IsTheWholeTextWithoutSpecialTokens) {
  support::TempDir temp;
  core::write_text_file(temp.file("a.txt"), "abc abc");
  const Corpus c = load_corpus(temp.file("a.txt"), byte_tokenizer());
  // A space travels as U+2581, three bytes.
  EXPECT_EQ(c.tokens.size(), 9u);
  EXPECT_EQ(c.tokens[0], 3 + 'a');
  EXPECT_EQ(c.sha256, hash::sha256("abc abc"));
  core::write_text_file(temp.file("empty.txt"), "");
  EXPECT_THROW(load_corpus(temp.file("empty.txt"), byte_tokenizer()), core::Error);
  EXPECT_THROW(load_corpus(temp.file("absent.txt"), byte_tokenizer()), core::Error);
}

// BOS covers the first token of a window: its length, its other tokens and what lies before and
// behind it stay.
TEST(Corpus, ItsWindowsBeginWithBosWhereTheModelAddsIt) {
  support::TempDir temp;
  core::write_text_file(temp.file("a.txt"), "abcdefghijklmnop");
  std::vector<std::string> said;
  const core::Progress progress = [&](const core::ProgressEvent& e) { said.push_back(e.detail); };
  const Corpus c = load_corpus(temp.file("a.txt"), byte_tokenizer(), progress);
  ASSERT_EQ(c.bos, 1);
  ASSERT_EQ(c.tokens.size(), 16u);
  EXPECT_EQ(c.tokens.front(), 3 + 'a') << "the stream itself has none";
  ASSERT_EQ(said.size(), 1u);
  EXPECT_NE(said[0].find("16 tokens; each window begins with the model's BOS token (<s>)"),
            std::string::npos)
      << said[0];
  std::vector<std::int64_t> window(4);
  c.read_window(8, window);
  EXPECT_EQ(window, (std::vector<std::int64_t>{1, 3 + 'j', 3 + 'k', 3 + 'l'}));

  const std::vector<std::int64_t> drawn = calibration_ids(c, {16, 4, 7}, 259);
  Corpus without = c;
  without.bos = std::nullopt;
  const std::vector<std::int64_t> plain = calibration_ids(without, {16, 4, 7}, 259);
  ASSERT_EQ(drawn.size(), 16u);
  for (std::size_t i = 0; i < drawn.size(); ++i) EXPECT_EQ(drawn[i], i % 4 == 0 ? 1 : plain[i]);
  EXPECT_THROW(calibration_ids(c, {16, 1, 7}, 259), core::Error) << "windows of BOS alone";
  EXPECT_EQ(calibration_ids(without, {16, 1, 7}, 259).size(), 16u);
  Corpus foreign = c;
  foreign.bos = 259;
  EXPECT_THROW(require_vocabulary(foreign, 259), core::Error);
}
TEST(Corpus, SaysThatAModelAddsNoBos) {
  support::TempDir temp;
  core::write_text_file(temp.file("a.txt"), "abc");
  text::TokenizerData data = byte_tokenizer_data();
  data.add_bos = false;
  data.add_eos = true;
  std::string said;
  const Corpus c = load_corpus(temp.file("a.txt"), text::Tokenizer(data),
                               [&](const core::ProgressEvent& e) { said = e.detail; });
  EXPECT_FALSE(c.bos.has_value());
  EXPECT_EQ(c.tokens.size(), 3u) << "no EOS behind the text";
  EXPECT_NE(said.find("3 tokens; windows begin without a BOS token"), std::string::npos) << said;
  EXPECT_NE(said.find("EOS"), std::string::npos) << said;
}

TEST(WindowSampler, EveryEpochIsAPermutationOfWindowsOnAGrid) {
  for (const std::int64_t n : {100, 101, 106, 107, 1000, 64 * 7 + 3}) {
    const WindowSampler sampler(n, 7, 42);
    const std::int64_t per_epoch = sampler.windows_per_epoch();
    EXPECT_EQ(per_epoch, n / 7);
    std::set<std::int64_t> offsets;
    for (std::int64_t epoch = 0; epoch < 20; ++epoch) {
      std::set<std::int64_t> starts;
      for (std::int64_t i = 0; i < per_epoch; ++i) {
        const std::int64_t start = sampler.start(epoch * per_epoch + i);
        ASSERT_GE(start, 0);
        ASSERT_LE(start + 7, n);
        starts.insert(start);
      }
      EXPECT_EQ(static_cast<std::int64_t>(starts.size()), per_epoch);
      const std::int64_t offset = *starts.begin();
      for (const std::int64_t s : starts) EXPECT_EQ((s - offset) % 7, 0);
      offsets.insert(offset);
    }
    EXPECT_EQ(offsets.size() > 1, n % 7 > 0)
        << "epochs are shifted against each other where there is room";
  }
}
TEST(WindowSampler, FromTheEndMeetsTheFirstWindowsLast) {
  const WindowSampler sampler(1000, 7, 42);
  const std::int64_t n = sampler.windows_per_epoch();
  for (std::int64_t i = 0; i < n; ++i) {
    EXPECT_EQ(sampler.start_from_end(i), sampler.start(n - 1 - i));
    EXPECT_EQ(sampler.start_from_end(n + i), sampler.start(2 * n - 1 - i));
  }
}

TEST(WindowSampler, IsAPureFunctionOfSeedAndIndex) {
  const WindowSampler a(10000, 64, 1), b(10000, 64, 1), c(10000, 64, 2);
  std::vector<std::int64_t> forward, backward, other, second_epoch;
  for (std::int64_t i = 0; i < 100; ++i) forward.push_back(a.start(i));
  for (std::int64_t i = 99; i >= 0; --i) backward.insert(backward.begin(), b.start(i));
  for (std::int64_t i = 0; i < 100; ++i) other.push_back(c.start(i));
  for (std::int64_t i = 0; i < 100; ++i) second_epoch.push_back(a.start(i + a.windows_per_epoch()));
  EXPECT_EQ(forward, backward);
  EXPECT_NE(forward, other);
  EXPECT_NE(forward, second_epoch);
  EXPECT_FALSE(std::is_sorted(forward.begin(), forward.end()));
}
TEST(WindowSampler, OneWindowIsTheLeast) {
  EXPECT_EQ(WindowSampler(8, 8, 0).start(3), 0);
  EXPECT_THROW(WindowSampler(7, 8, 0), core::Error);
}

TEST(Overlap, CountsCoveredTokensOnce) {
  const text::Tokenizer tokenizer = byte_tokenizer();
  Corpus train = random_corpus(5000, 1), held_out = random_corpus(1000, 2);
  EXPECT_EQ(find_overlap(train, held_out, tokenizer, 16).tokens, 0);
  require_disjoint(train, held_out, tokenizer, 16);
  paste(train, 777, held_out, 100, 40);   // 25 runs of 16, 40 tokens
  paste(train, 2000, held_out, 130, 20);  // overlaps the first in the held-out text: 10 more
  paste(train, 3000, held_out, 600, 15);  // one too short
  paste(train, 4984, held_out, 984, 16);  // at both ends
  const Overlap overlap = find_overlap(train, held_out, tokenizer, 16);
  EXPECT_EQ(overlap.tokens, 50 + 16);
  EXPECT_FALSE(overlap.example.empty());
  try {
    require_disjoint(train, held_out, tokenizer, 16);
    FAIL() << "an overlap was accepted";
  } catch (const core::Error& error) {
    EXPECT_EQ(error.kind(), core::ErrorKind::check_failed);
    EXPECT_NE(std::string(error.what()).find("66 of 1000"), std::string::npos);
  }
}
TEST(Overlap, RepeatedRunsInTheHeldOutTextAllCount) {
  const text::Tokenizer tokenizer = byte_tokenizer();
  Corpus train = random_corpus(500, 3), held_out = random_corpus(300, 4);
  paste(held_out, 200, held_out, 20, 10);
  paste(train, 60, held_out, 20, 10);
  EXPECT_EQ(find_overlap(train, held_out, tokenizer, 10).tokens, 20);
  EXPECT_EQ(find_overlap(train, held_out, tokenizer, 11).tokens, 0);
}
TEST(Overlap, ShorterTextsThanARunShareNothing) {
  const text::Tokenizer tokenizer = byte_tokenizer();
  const Corpus a = random_corpus(10, 5), b = random_corpus(10, 5);
  EXPECT_EQ(find_overlap(a, b, tokenizer, 11).tokens, 0);
  EXPECT_EQ(find_overlap(a, b, tokenizer, 10).tokens, 10);
}
// Long stretches of one token are the worst case of hashing by runs: all starts share one hash.
TEST(Overlap, StaysLinearOnRepetitiveText) {
  const text::Tokenizer tokenizer = byte_tokenizer();
  const auto overlap = [&](std::int64_t n) {
    Corpus train = random_corpus(10 * n, 6), held_out = random_corpus(n, 7);
    std::fill(train.tokens.begin() + 1000, train.tokens.begin() + 5 * n, 42);
    std::fill(held_out.tokens.begin(), held_out.tokens.begin() + n / 2, 42);
    EXPECT_EQ(find_overlap(train, held_out, tokenizer).tokens, n / 2);
  };
  // Quadratic work would be 4e9 comparisons of 48 tokens for the longer texts.
  EXPECT_LT(support::growth(overlap, std::int64_t{5000}, std::int64_t{40000}), support::kLinear);
}

}  // namespace
}  // namespace espalier::data
