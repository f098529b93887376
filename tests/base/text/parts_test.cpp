// SPDX-License-Identifier: Apache-2.0
// The parts below the tokenizer, each against a definition written down differently: UTF-8, byte
// alphabet, merging, added tokens, words.
#include <gtest/gtest.h>

#include <array>

#include "core/error.h"
#include "core/rng.h"
#include "support/growth.h"
#include "text/byte_alphabet.h"
#include "text/merge_table.h"
#include "text/pretokenizer.h"
#include "text/special_trie.h"
#include "text/token_ids.h"
#include "text/utf8.h"

namespace espalier::text {
namespace {

TEST(Utf8, EveryCodePointSurvives) {
  for (char32_t c = 0; c < 0x110000; ++c) {
    if (c >= 0xD800 && c < 0xE000) continue;
    std::string text;
    append_code_point(text, c);
    const CodePoint point = code_point_at(text, 0);
    ASSERT_TRUE(point.valid && point.value == c && point.length == text.size())
        << static_cast<unsigned>(c);
  }
}

TEST(Utf8, BrokenPartsBecomeOneReplacementEach) {
  const std::string r = "\xEF\xBF\xBD";
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"\x80", r},
      {"a\xC3", "a" + r},
      {"\xC3(", r + "("},
      {"\xE4\xBD", r},  // one truncated code point
      {"\xE4\xBD"
       "a",
       r + "a"},
      {"\xED\xA0\x80", r + r + r},  // surrogate: no byte of it can begin anything
      {"\xC0\xAF", r + r},          // overlong
      {"\xE0\x80\xAF", r + r + r},
      {"\xF0\x9F\xA6", r},
      {"\xF0\x9F\xA6\xF0\x9F\xA6\x99", r + "\xF0\x9F\xA6\x99"},
      {"\xF4\x90\x80\x80", r + r + r + r},  // above U+10FFFF
      {"\xFF\xFE", r + r},
      {"ok", "ok"},
  };
  for (const auto& [text, expected] : cases) {
    EXPECT_EQ(replace_broken_utf8(text), expected);
    EXPECT_EQ(is_valid_utf8(text), text == expected);
  }
}

TEST(Utf8, NormalizesToComposedForm) {
  EXPECT_EQ(to_nfc("plain"), "plain");
  EXPECT_EQ(to_nfc("e\xCC\x81"), "\xC3\xA9");                     // e + acute
  EXPECT_EQ(to_nfc("\xE2\x84\xAB"), "\xC3\x85");                  // Angstrom sign
  EXPECT_EQ(to_nfc("q\xCC\x87\xCC\xA3"), "q\xCC\xA3\xCC\x87");    // marks put in order
  EXPECT_EQ(to_nfc("\xE1\x84\x80\xE1\x85\xA1"), "\xEA\xB0\x80");  // Hangul jamo
  EXPECT_EQ(to_nfc("\xEF\xAC\x81"), "\xEF\xAC\x81");  // ligature fi is no canonical composition
}

TEST(Utf8, LongRunsOfMarksTakeLittleTime) {
  const auto marks = [](int pairs) {
    return "a" + support::repeated("\xCC\x81\xCC\xA3", 4 * pairs);
  };
  const auto compose = [](const std::string& text) { EXPECT_FALSE(to_nfc(text).empty()); };
  EXPECT_LT(support::growth(compose, marks(6250), marks(50000)), support::kLinear);
}

TEST(Utf8, MeasuresSpaceAtBothEnds) {
  EXPECT_EQ(leading_space_bytes(" \t\xC2\xA0x "), 4u);
  EXPECT_EQ(trailing_space_bytes("x \xE3\x80\x80\n"), 5u);
  EXPECT_EQ(leading_space_bytes("\xE2\x80\x8Bx"), 0u);  // zero-width space is none
  EXPECT_EQ(trailing_space_bytes("   "), 3u);
  EXPECT_EQ(trailing_space_bytes(""), 0u);
}

TEST(ByteAlphabet, IsReversible) {
  std::string all;
  for (int b = 0; b < 256; ++b) all.push_back(static_cast<char>(b));
  const std::string symbols = symbols_of_bytes(all);
  EXPECT_EQ(bytes_of_symbols(symbols), all);
  EXPECT_EQ(byte_symbol(' '), "\xC4\xA0");
  EXPECT_EQ(byte_symbol('\n'), "\xC4\x8A");
  EXPECT_EQ(byte_symbol('a'), "a");
  EXPECT_EQ(byte_symbol(0xAD), "\xC5\x83");  // the last of the 68
  EXPECT_FALSE(bytes_of_symbols("a b").has_value());
  EXPECT_FALSE(bytes_of_symbols("\xE4\xBD\xA0").has_value());
}

TEST(TokenIds, FindsWhatWasAdded) {
  EXPECT_EQ(TokenIds().find("a"), -1);
  EXPECT_EQ(TokenIds(0).find(""), -1);
  constexpr std::int32_t kTokens = 3000;
  const auto name = [](std::int32_t i) {
    return std::string(static_cast<std::size_t>(i % 7), 'x') + std::to_string(i);
  };
  TokenIds ids(kTokens + 1);
  for (std::int32_t i = 0; i < kTokens; ++i) ASSERT_EQ(ids.add(name(i)), -1);
  EXPECT_EQ(ids.add(name(17)), 17);  // a second time: the first one keeps the text
  ASSERT_EQ(ids.size(), 3001u);
  EXPECT_EQ(ids.text(kTokens), name(17));
  for (std::int32_t i = 0; i < kTokens; ++i) {
    ASSERT_EQ(ids.find(name(i)), i);
    ASSERT_EQ(ids.text(i), name(i));
    ASSERT_EQ(ids.find(name(i) + "?"), -1);
  }
}

TEST(Merging, APairMergesOnce) {
  EXPECT_EQ(MergeTable().find(0, 0).result, -1);
  MergeTable table(2);
  EXPECT_TRUE(table.add({1, 2, 0, 3}));
  EXPECT_FALSE(table.add({1, 2, 1, 4}));
  EXPECT_TRUE(table.add({2, 1, 1, 4}));
  EXPECT_EQ(table.find(1, 2).result, 3);
  EXPECT_EQ(table.find(2, 1).rank, 1u);
  EXPECT_EQ(table.find(1, 1).result, -1);
  EXPECT_EQ(table.find(-1, 2).result, -1);
}

// The definition, in quadratic time.
std::vector<std::int32_t> merge_plainly(const MergeTable& table, std::vector<std::int32_t> ids) {
  while (true) {
    std::size_t best = ids.size();
    MergeTable::Target target{0, -1};
    for (std::size_t i = 0; i + 1 < ids.size(); ++i) {
      const MergeTable::Target candidate = table.find(ids[i], ids[i + 1]);
      if (candidate.result >= 0 && (target.result < 0 || candidate.rank < target.rank)) {
        target = candidate;
        best = i;
      }
    }
    if (best == ids.size()) return ids;
    ids[best] = target.result;
    ids.erase(ids.begin() + static_cast<std::ptrdiff_t>(best) + 1);
  }
}

TEST(Merging, EqualsTheDefinitionOnRandomWords) {
  core::Rng rng(7);
  Merger merger;
  int merged_words = 0;
  for (int round = 0; round < 300; ++round) {
    std::vector<Merge> merges;
    const auto n = 1 + static_cast<std::int32_t>(rng.below(12));
    const bool equal_ranks = round % 3 == 0;
    for (std::int32_t i = 0; i < n; ++i) {
      merges.push_back({static_cast<std::int32_t>(rng.below(static_cast<std::uint64_t>(3 + i))),
                        static_cast<std::int32_t>(rng.below(static_cast<std::uint64_t>(3 + i))),
                        static_cast<std::uint32_t>(equal_ranks ? rng.below(3) : rng.below(1000)),
                        3 + i});
    }
    const MergeTable table(merges);
    std::vector<std::int32_t> ids;
    std::vector<Symbol> word;
    const std::uint64_t length = rng.below(40);
    for (std::uint64_t i = 0; i < length; ++i) {
      ids.push_back(rng.below(20) == 0 ? -1 : static_cast<std::int32_t>(rng.below(3)));
      word.push_back({ids.back(), static_cast<std::uint32_t>(i)});
    }
    merger.apply(table, word);
    std::vector<std::int32_t> got;
    for (const Symbol& symbol : word) got.push_back(symbol.id);
    ASSERT_EQ(got, merge_plainly(table, ids)) << "round " << round;
    if (got.size() < ids.size()) ++merged_words;
  }
  EXPECT_GT(merged_words, 150);
}

TEST(Merging, OneLongWordIsNotQuadratic) {
  const MergeTable table({{0, 0, 0, 1}, {1, 1, 1, 2}, {2, 2, 2, 3}});
  Merger merger;
  const auto merge = [&](std::uint32_t n) {
    std::vector<Symbol> word(n);
    for (std::uint32_t i = 0; i < n; ++i) word[i] = {0, i};
    merger.apply(table, word);
    EXPECT_EQ(word.size(), n / 8);
  };
  EXPECT_LT(support::growth(merge, 25000u, 200000u), support::kLinear);
}

TEST(SpecialTrie, LongestAtTheLeftmostPlace) {
  SpecialTrie trie;
  trie.insert("<a", 1);
  trie.insert("<a>b", 2);
  trie.insert("b<a>", 3);
  const auto find = [&trie](std::string_view text, std::size_t from) {
    const SpecialTrie::Match match = trie.find(text, from);
    return std::array<std::int64_t, 3>{static_cast<std::int64_t>(match.start),
                                       static_cast<std::int64_t>(match.length), match.id};
  };
  using Expected = std::array<std::int64_t, 3>;
  EXPECT_EQ(find("xx<a>b<a>", 0), (Expected{2, 4, 2}));
  EXPECT_EQ(find("xx<a>c", 0), (Expected{2, 2, 1}));
  EXPECT_EQ(find("xb<a>b", 0), (Expected{1, 4, 3}));
  EXPECT_EQ(find("xb<a>b", 2), (Expected{2, 4, 2}));
  EXPECT_EQ(find("nothing <", 0), (Expected{9, 0, -1}));
}

std::vector<std::string> words(const char* pre, std::string_view text) {
  std::vector<std::string> out;
  PreTokenizer(*find_pre_spec(pre)).split(text, [&out](std::string_view word) {
    out.emplace_back(word);
  });
  return out;
}
using Words = std::vector<std::string>;

TEST(PreTokenizer, CutsAsEachNameSays) {
  EXPECT_EQ(words("gpt-2", "It's 123 a  b"), (Words{"It", "'s", " 123", " a", " ", " b"}));
  EXPECT_EQ(words("smollm", "It's 123 a  7"),
            (Words{"It", "'s", " ", "1", "2", "3", " a", "  ", "7"}));
  EXPECT_EQ(words("llama-bpe", "IT'S 1234 (a)\n\nb"),
            (Words{"IT", "'S", " ", "123", "4", " (", "a", ")\n\n", "b"}));
  EXPECT_EQ(words("qwen2", "IT'S 12 #x"), (Words{"IT", "'S", " ", "1", "2", " #", "x"}));
  EXPECT_EQ(words("llama3", "12345"), (Words{"123", "45"}));
  EXPECT_EQ(words("gpt-2",
                  "a\xE1\xA0\x8E"
                  "b"),
            (Words{"a", "\xE1\xA0\x8E", "b"}));  // U+180E is no white space
  EXPECT_EQ(words("llama-bpe",
                  "x'\xC5\xBF"
                  "y"),
            (Words{"x", "'\xC5\xBF", "y"}));  // long s is an s without case
  EXPECT_TRUE(words("gpt-2", "").empty());
}

TEST(PreTokenizer, LettersAndDigitsNewerThanUnicode14) {
  EXPECT_EQ(words("gpt-2",
                  "\xF0\xB1\x8D\x90"
                  "a")
                .size(),
            1u);  // U+31350, CJK extension H (Unicode 15)
  EXPECT_EQ(words("gpt-2",
                  "\xF0\x91\xBD\x90"
                  "1")
                .size(),
            1u);  // U+11F50, Kawi digit zero (Unicode 15)
  EXPECT_EQ(words("smollm",
                  "\xF0\x91\xBD\x90"
                  "1")
                .size(),
            2u);
}

TEST(PreTokenizer, KnowsItsNames) {
  EXPECT_EQ(pre_specs().size(), 9u);
  EXPECT_EQ(find_pre_spec("nonsense"), nullptr);
  EXPECT_EQ(find_pre_spec("default"), nullptr);
  EXPECT_EQ(find_pre_spec("llama3"), find_pre_spec("llama-bpe"));
  EXPECT_EQ(find_pre_spec("refact"), find_pre_spec("smollm"));  // Granite 3
  for (const PreSpec& spec : pre_specs()) {
    if (spec.hf_pattern.empty()) continue;
    EXPECT_EQ(find_pre_spec_by_pattern(spec.hf_pattern, spec.ignore_merges), &spec) << spec.name;
  }
  EXPECT_EQ(find_pre_spec_by_pattern(kGpt2Pattern, false), find_pre_spec("gpt-2"));
  EXPECT_EQ(find_pre_spec_by_pattern("\\w+", false), nullptr);
}

TEST(PreTokenizer, HostileTextTakesLittleTime) {
  struct Text {
    const char *unit, *end;
  };
  for (const PreSpec& spec : pre_specs()) {
    const PreTokenizer pre(spec);
    for (const Text& text : {Text{" ", "x"}, Text{"\n", " x"}, Text{"'", ""}, Text{"a", ""},
                             Text{"7", ""}, Text{" \t'\xC2\xA0'", ""}}) {
      const auto split = [&](std::size_t length) {
        const std::string whole = support::repeated(text.unit, length) + text.end;
        std::size_t bytes = 0;
        pre.split(whole, [&bytes](std::string_view word) { bytes += word.size(); });
        EXPECT_EQ(bytes, whole.size());
      };
      EXPECT_LT(support::growth(split, std::size_t{7500}, std::size_t{60000}), support::kLinear)
          << spec.name << " on '" << text.unit << "'...";
    }
  }
}

}  // namespace
}  // namespace espalier::text
