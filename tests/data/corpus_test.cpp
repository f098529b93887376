// Windows are a pure function of (seed, index) and visit everything once an epoch; overlaps are found, and only true ones.
#include "data/corpus.h"

#include <gtest/gtest.h>

#include <set>

#include "core/error.h"
#include "core/file.h"
#include "support/temp_dir.h"
#include "support/tiny_model.h"

namespace espalier::data {
namespace {

TEST(WindowSampler, EveryWindowOncePerEpochAndPure) {
  for (std::int64_t n : {64, 65, 1000, 4097}) {
    const WindowSampler a(n, 64, 7), b(n, 64, 7), other(n, 64, 8);
    for (int epoch = 0; epoch < 3; ++epoch) {
      std::set<std::int64_t> starts;
      for (std::int64_t i = 0; i < a.windows_per_epoch(); ++i) {
        const std::int64_t s = a.start(epoch * a.windows_per_epoch() + i);
        EXPECT_EQ(s, b.start(epoch * a.windows_per_epoch() + i));
        EXPECT_GE(s, 0);
        EXPECT_LE(s + 64, n);
        starts.insert(s);
      }
      EXPECT_EQ(static_cast<std::int64_t>(starts.size()), a.windows_per_epoch());
    }
    if (n > 1000) EXPECT_NE(std::make_pair(a.start(0), a.start(1)), std::make_pair(other.start(0), other.start(1)));
  }
  EXPECT_THROW(WindowSampler(63, 64, 0), core::Error);
}

TEST(Overlap, FoundWhereItIsAndNowhereElse) {
  const text::Tokenizer tokenizer(support::tiny_tokenizer(320));
  Corpus train{"train", "", {}}, held_out{"held", "", {}};
  for (int i = 0; i < 5000; ++i) train.tokens.push_back(i * 7919 % 313);
  for (int i = 0; i < 500; ++i) held_out.tokens.push_back(i * 104729 % 311 + 1);
  EXPECT_EQ(find_overlap(train, held_out, tokenizer, 16).tokens, 0);
  require_disjoint(train, held_out, tokenizer, 16);
  std::copy(train.tokens.begin() + 1000, train.tokens.begin() + 1015, held_out.tokens.begin() + 100);
  EXPECT_EQ(find_overlap(train, held_out, tokenizer, 16).tokens, 0);  // 15 in a row are not 16
  std::copy(train.tokens.begin() + 1000, train.tokens.begin() + 1020, held_out.tokens.begin() + 100);
  EXPECT_EQ(find_overlap(train, held_out, tokenizer, 16).tokens, 20);
  EXPECT_THROW(require_disjoint(train, held_out, tokenizer, 16), core::Error);
}

TEST(Corpus, EmptyTextIsRefused) {
  support::TempDir dir;
  core::write_text_file(dir.file("empty.txt"), "");
  EXPECT_THROW(load_corpus(dir.file("empty.txt"), text::Tokenizer(support::tiny_tokenizer(320))), core::Error);
}

}  // namespace
}  // namespace espalier::data
