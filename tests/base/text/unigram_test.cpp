// SPDX-License-Identifier: Apache-2.0
// Unigram segmentation against its definition (the best of all cuts, tried one by one), character
// maps with units that point anywhere, and time.
#include <gtest/gtest.h>

#include <algorithm>

#include "core/rng.h"
#include "support/growth.h"
#include "text/charsmap.h"
#include "text/fixtures.h"
#include "text/piece_trie.h"
#include "text/unigram.h"
#include "text/utf8.h"

namespace espalier::text {
namespace {

TokenizerData pieces_of(const std::vector<std::pair<std::string, float>>& pieces) {
  TokenizerData data;
  data.kind = TokenizerKind::unigram;
  data.pre = "default";
  data.tokens = {"<unk>"};
  data.types = {TokenType::unknown};
  data.scores = {0.0f};
  data.unk = 0;
  data.add_space_prefix = false;
  for (const auto& [text, score] : pieces) {
    data.tokens.push_back(text);
    data.types.push_back(TokenType::normal);
    data.scores.push_back(score);
  }
  return data;
}

// Best sum over every way to cut `text`; a letter that is no piece costs the least score less 10.
double best_sum(const TokenizerData& data, const std::string& text, float unknown) {
  if (text.empty()) return 0.0;
  double best = -1e30;
  for (std::size_t n = 1; n <= text.size(); ++n) {
    const auto at = std::find(data.tokens.begin() + 1, data.tokens.end(), text.substr(0, n));
    if (at == data.tokens.end() && n > 1) continue;
    const double score = at == data.tokens.end()
                             ? unknown
                             : data.scores[static_cast<std::size_t>(at - data.tokens.begin())];
    best = std::max(best, score + best_sum(data, text.substr(n), unknown));
  }
  return best;
}

TEST(Unigram, FindsTheBestOfAllCuts) {
  core::Rng rng(11);
  int several = 0;
  for (int round = 0; round < 200; ++round) {
    std::vector<std::pair<std::string, float>> pieces;
    for (int k = 0; k < 8; ++k) {
      std::string piece;
      for (std::uint64_t n = 1 + rng.below(4); n > 0; --n)
        piece += static_cast<char>('a' + rng.below(3));
      const auto same = [&](const auto& other) { return other.first == piece; };
      if (std::none_of(pieces.begin(), pieces.end(), same))
        pieces.emplace_back(piece, -static_cast<float>(1 + rng.below(64)) / 4);
    }
    const TokenizerData data = pieces_of(pieces);
    float least = 0.0f;
    for (const auto& [piece, score] : pieces) least = std::min(least, score);
    std::string text;
    for (int k = 0; k < 11; ++k) text += static_cast<char>('a' + rng.below(3));
    const Tokenizer tokenizer(data);
    const auto ids = tokenizer.encode(text, false);
    // Unknown tokens in a row are one: their letters are what the other pieces leave over.
    double sum = 0.0;
    std::size_t known = 0;
    for (const std::int32_t id : ids) {
      if (id == 0) continue;
      sum += data.scores[static_cast<std::size_t>(id)];
      known += tokenizer.piece(id).size();
    }
    sum += static_cast<double>(text.size() - known) * (least - 10.0f);
    ASSERT_DOUBLE_EQ(sum, best_sum(data, text, least - 10.0f)) << "round " << round;
    if (ids.size() > 2) ++several;
  }
  EXPECT_GT(several, 100);
}

TEST(Unigram, OfEqualCutsTheFirstFoundStays) {
  const Tokenizer tokenizer(
      pieces_of({{"a", -1.0f}, {"b", -1.0f}, {"c", -1.0f}, {"ab", -1.0f}, {"bc", -1.0f}}));
  EXPECT_EQ(tokenizer.encode("abc", false),
            (std::vector<std::int32_t>{1, 5}));  // a bc, whose last piece begins earlier
}

// In float, sums of a long text would be too coarse for the difference.
TEST(Unigram, ALongTextIsCutLikeAShortOne) {
  const Tokenizer tokenizer(pieces_of({{"a", -1.0f}, {"b", -1.0f}, {"ab", -2.000001f}}));
  const std::vector<std::int32_t> ids = tokenizer.encode(support::repeated("ab", 1 << 16), false);
  EXPECT_EQ(ids.size(), std::size_t{1} << 16);
  EXPECT_EQ(std::count(ids.begin(), ids.end(), 3), 0);
}

TEST(Unigram, UserDefinedPiecesAreNotMapped) {
  const TokenizerData data = tokenizer_from_hf(fixture_directory("model-nmt"));
  const Tokenizer tokenizer(data);
  const std::string wide =
      "\xEF\xBC\xA1\xEF\xBC\xA2";  // a user-defined piece that the map would make "AB"
  const auto ids = tokenizer.encode("a" + wide + wide, false);
  ASSERT_GE(ids.size(), 2u);
  EXPECT_EQ(tokenizer.piece(ids.back()), wide);
  EXPECT_EQ(tokenizer.piece(ids[ids.size() - 2]), wide);
  EXPECT_EQ(tokenizer.decode(tokenizer.encode("  the \xEF\xBD\x85  t ", false)), "the e t");
  EXPECT_TRUE(tokenizer.encode("   ", false).empty());
}

TEST(Unigram, TheCharacterMapTravels) {
  const TokenizerData data = tokenizer_from_hf(fixture_directory("model-nmt"));
  const TokenizerData again = through_hf(through_gguf(data));
  EXPECT_TRUE(again.remove_extra_spaces);
  EXPECT_TRUE(again.add_space_prefix);
  EXPECT_EQ(again.charsmap, data.charsmap);
  EXPECT_GT(again.charsmap.size(), 200000u);
}

// Whatever the units are, a map finds something inside the text or nothing.
TEST(CharacterMap, RandomUnitsStayInBounds) {
  core::Rng rng(3);
  int found = 0;
  for (int round = 0; round < 300; ++round) {
    const std::uint32_t n = 256 + static_cast<std::uint32_t>(rng.below(512));
    std::string bytes;
    const auto put = [&](std::uint32_t value) {
      for (int i = 0; i < 4; ++i)
        bytes.push_back(static_cast<char>(static_cast<unsigned char>(value >> (8 * i))));
    };
    put(4 * n);
    for (std::uint32_t i = 0; i < n; ++i) {
      const auto wild = static_cast<std::uint32_t>(rng.below(std::uint64_t{1} << 32)),
                 few = static_cast<std::uint32_t>(rng.below(4));
      const std::uint32_t child =
          (wild & 0x100) | few << 18 | (i & 0xFF);  // of a unit 256 * few before it
      put(round % 3 == 0 ? wild : few == 0 ? wild & 0xF : child);
    }
    bytes += std::string("one\0two\0", 8);
    const CharacterMap map(bytes, "test");
    std::string text;
    for (int i = 0; i < 64; ++i)
      text.push_back(static_cast<char>(static_cast<unsigned char>(rng.below(256))));
    for (std::size_t at = 0; at < text.size(); ++at) {
      const CharacterMap::Match match = map.find(text, at);
      EXPECT_LE(at + match.length, text.size());
      EXPECT_LE(match.replacement.size(), 3u);
      if (match.length > 0) ++found;
    }
  }
  EXPECT_GT(found, 60);
}

TEST(PieceTrie, FindsEveryPrefix) {
  const std::vector<std::pair<std::string_view, std::int32_t>> pieces = {
      {"b", 4}, {"a", 7}, {"abc", 2}, {"ab", 9}, {"\xFF", 1}, {"abd", 3}};
  const PieceTrie trie(pieces);
  std::vector<std::pair<std::size_t, std::int32_t>> found;
  trie.prefixes("xabcd", 1,
                [&](std::size_t length, std::int32_t id) { found.emplace_back(length, id); });
  EXPECT_EQ(found, (std::vector<std::pair<std::size_t, std::int32_t>>{{1, 7}, {2, 9}, {3, 2}}));
  found.clear();
  trie.prefixes("xabcd", 0,
                [&](std::size_t length, std::int32_t id) { found.emplace_back(length, id); });
  EXPECT_TRUE(found.empty());
  trie.prefixes("\xFF", 0,
                [&](std::size_t length, std::int32_t id) { found.emplace_back(length, id); });
  EXPECT_EQ(found.size(), 1u);
  EXPECT_TRUE(PieceTrie().empty());
}

TEST(Unigram, TimeGrowsWithTheText) {
  for (const char* name : {"model-unigram", "model-nmt"}) {
    const Tokenizer tokenizer(tokenizer_from_hf(fixture_directory(name)));
    for (const char* unit : {"a", " ", "\xEF\xB7\xBA", "the "}) {
      const auto encode = [&](const std::string& text) {
        (void)tokenizer.encode(text, false, true);
      };
      EXPECT_LT(support::growth(encode, support::repeated(unit, 1 << 13),
                                support::repeated(unit, 1 << 16)),
                support::kLinear)
          << name << ", '" << unit << "'";
    }
  }
}

}  // namespace
}  // namespace espalier::text
