// SPDX-License-Identifier: Apache-2.0
// Which tokens stay, for every kind of tokenizer: what is needed, the most frequent, and their
// chains. What is cut to them reads every text, with the pieces that it had wherever all of them
// are kept, also after a passage through files.
#include "plan/vocabulary_choice.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <sstream>
#include <stdexcept>

#include "checkpoint/vocabulary.h"
#include "core/error.h"
#include "support/tiny_model.h"
#include "text/fixtures.h"
#include "text/utf8.h"

namespace espalier::plan {
namespace {

using Ids = std::vector<std::int64_t>;
using text::TokenizerData;

std::int64_t size_of(const TokenizerData& data) {
  return static_cast<std::int64_t>(data.tokens.size());
}

// Texts of many kinds, and their words, with and without a space in front.
std::vector<std::string> sample_texts() {
  std::vector<std::string> out;
  for (const auto& [name, bytes] : text::stress_texts()) {
    const std::string whole = text::replace_broken_utf8(bytes);
    out.push_back(whole);
    std::istringstream words(whole);
    for (std::string word; words >> word;) {
      out.push_back(word);
      out.push_back("a " + word + " b");
    }
  }
  return out;
}

std::int64_t unknown_tokens(const text::Tokenizer& tokenizer,
                            const std::vector<std::int32_t>& ids) {
  return std::count_if(ids.begin(), ids.end(), [&](std::int32_t id) {
    return tokenizer.type(id) == text::TokenType::unknown;
  });
}

// The number of texts all of whose pieces are kept; they have the same pieces under new numbers.
std::int64_t expect_same_pieces(const text::Tokenizer& before, const text::Tokenizer& after,
                                const Ids& keep) {
  std::int64_t same = 0;
  for (const std::string& text : sample_texts()) {
    const std::vector<std::int32_t> old = before.encode(text, true, true),
                                    ids = after.encode(text, true, true);
    EXPECT_EQ(after.decode(ids), before.decode(old)) << text;
    EXPECT_LE(unknown_tokens(after, ids), unknown_tokens(before, old)) << text;
    std::vector<std::int32_t> moved;
    for (const std::int32_t id : old)
      if (const auto place = checkpoint::new_id(id, keep))
        moved.push_back(static_cast<std::int32_t>(*place));
    if (moved.size() != old.size()) continue;
    ++same;
    EXPECT_EQ(ids, moved) << text;
  }
  return same;
}

class EveryTokenizer : public testing::TestWithParam<std::string> {};

TEST_P(EveryTokenizer, KeepsItsPieces) {
  const TokenizerData data = text::tokenizer_from_hf(text::fixture_directory(GetParam()));
  const std::int64_t n = size_of(data);
  text::Documents documents;
  for (const auto& [name, bytes] : text::stress_texts())
    documents.texts.push_back(text::replace_broken_utf8(bytes));
  const Ids counts = count_tokens(data, documents, {});
  const auto needed = static_cast<std::int64_t>(needed_tokens(data, {}).size());
  ASSERT_LT(needed, n - 20);
  const text::Tokenizer before(data);
  const auto total = static_cast<std::int64_t>(sample_texts().size());
  for (const std::int64_t size : {needed, needed + (n - needed) / 3, n - 10}) {
    const VocabularyChoice choice = choose_vocabulary(data, {}, counts, n, {.size = size});
    ASSERT_EQ(static_cast<std::int64_t>(choice.keep.size()), size);
    EXPECT_EQ(choice.needed, needed);
    EXPECT_TRUE(std::is_sorted(choice.keep.begin(), choice.keep.end()));
    const TokenizerData cut = checkpoint::cut_tokenizer(data, choice.keep);
    const std::int64_t same = expect_same_pieces(before, text::Tokenizer(cut), choice.keep);
    EXPECT_GT(same, total / 40);
    if (size == needed) {
      EXPECT_LT(same, total);
    }
    for (const TokenizerData& passed : {text::through_gguf(cut), text::through_hf(cut)}) {
      EXPECT_TRUE(text::same_vocabulary(passed, cut));
      EXPECT_EQ(expect_same_pieces(before, text::Tokenizer(passed), choice.keep), same);
      EXPECT_EQ(checkpoint::ids_of_part(data, passed), choice.keep);
    }
    // The files are rewritten, not made anew.
    const TokenizerData written = text::through_hf(cut);
    EXPECT_EQ(cut.hf_tokenizer_json.empty(), data.hf_tokenizer_json.empty());
    EXPECT_EQ(written.hf_tokenizer_model, cut.hf_tokenizer_model);
    if (!cut.hf_tokenizer_json.empty()) {
      EXPECT_EQ(written.hf_tokenizer_json, cut.hf_tokenizer_json);
    }
  }
}

std::vector<std::string> all_fixtures() {
  std::vector<std::string> names = text::fixture_names();
  for (const char* model : {"model-gemma", "model-llama", "model-nmt", "model-unigram"})
    names.emplace_back(model);
  return names;
}
INSTANTIATE_TEST_SUITE_P(All, EveryTokenizer, testing::ValuesIn(all_fixtures()), [](const auto& p) {
  std::string name = p.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

TEST(VocabularyChoice, CoversEveryKindOfTokenizer) { EXPECT_EQ(all_fixtures().size(), 14u); }

// Text of the tiny tokenizer: "the" is made of t + h, then th + e.
struct Tiny {
  TokenizerData data = support::tiny_tokenizer(1500);
  std::int64_t n = size_of(data);
  Ids counts = Ids(static_cast<std::size_t>(n), 0);

  std::int64_t id(const std::string& token) const {
    const auto found = std::find(data.tokens.begin(), data.tokens.end(), token);
    if (found == data.tokens.end()) throw std::invalid_argument(token + ": no token");
    return found - data.tokens.begin();
  }
  std::int64_t& count(const std::string& token) {
    return counts[static_cast<std::size_t>(id(token))];
  }
  VocabularyChoice choose(const VocabularyTarget& target) const {
    return choose_vocabulary(data, {}, counts, n, target);
  }
  bool keeps(const VocabularyChoice& choice, const std::string& token) const {
    return std::binary_search(choice.keep.begin(), choice.keep.end(), id(token));
  }
};

TEST(VocabularyChoice, TakesTheMostFrequentWithTheirChains) {
  Tiny t;
  const std::string part = "\xC4\xA0t", whole = part + "h";  // behind a space
  const std::int64_t needed = t.choose({.size = t.n}).needed;
  ASSERT_FALSE(t.keeps(t.choose({.size = needed}), part));
  t.count(whole) = 5;
  t.count("zz") = 4;
  t.count("jj") = 4;
  // A whole brings its part; of two equals the lower id; the chain counts.
  const VocabularyChoice three = t.choose({.size = needed + 3});
  EXPECT_TRUE(t.keeps(three, whole) && t.keeps(three, part));
  EXPECT_EQ(t.keeps(three, "zz"), t.id("zz") < t.id("jj"));
  EXPECT_EQ(t.keeps(three, "jj"), t.id("jj") < t.id("zz"));
  EXPECT_EQ(three.covered, 9);
  EXPECT_EQ(three.tokens, 13);
  // Where the chain does not fit, the next token is taken.
  const VocabularyChoice one = t.choose({.size = needed + 1});
  EXPECT_FALSE(t.keeps(one, whole) || t.keeps(one, part));
  EXPECT_EQ(one.covered, 4);
  // When the text has no more, the lowest ids follow.
  const VocabularyChoice more = t.choose({.size = needed + 10});
  EXPECT_EQ(more.covered, 13);
  EXPECT_EQ(more.keep.size(), static_cast<std::size_t>(needed) + 10);
}

TEST(VocabularyChoice, CoversAShareOfTheText) {
  Tiny t;
  t.count("e") = 90;
  t.count("qu") = 6;
  t.count("zz") = 3;
  t.count("jj") = 1;
  const std::int64_t needed = t.choose({.size = t.n}).needed;
  const auto size = [&](double share) {
    return static_cast<std::int64_t>(t.choose({.coverage = share}).keep.size()) - needed;
  };
  EXPECT_EQ(size(0.5), 0);  // bytes are needed
  EXPECT_EQ(size(0.9), 0);
  EXPECT_EQ(size(0.95), 1);
  EXPECT_EQ(size(0.97), 2);
  EXPECT_EQ(size(1), 3);
  EXPECT_DOUBLE_EQ(t.choose({.coverage = 0.97}).coverage(), 0.99);
}

TEST(VocabularyChoice, KeepsWhatAModelNeeds) {
  Tiny t;
  const VocabularyChoice least = t.choose({.size = t.choose({.size = t.n}).needed});
  for (std::int64_t id = 0; id < 3 + 256; ++id)  // specials and bytes
    EXPECT_TRUE(std::binary_search(least.keep.begin(), least.keep.end(), id)) << id;
  const text::Tokenizer tokenizer(t.data);
  for (const char* written : {"<|im_start|>assistant\n", "<|im_start|>user\n", "<|im_end|>\n"})
    for (const std::int32_t id : tokenizer.encode(written, false, true))
      EXPECT_TRUE(std::binary_search(least.keep.begin(), least.keep.end(), id))
          << tokenizer.token(id);
  const Ids named = needed_tokens(t.data, {t.id("zz")});
  EXPECT_TRUE(std::binary_search(named.begin(), named.end(), t.id("zz")));
}

TEST(VocabularyChoice, RefusesWhatCannotBe) {
  Tiny t;
  const std::int64_t needed = t.choose({.size = t.n}).needed;
  const auto refusal = [&](const VocabularyTarget& target) -> std::string {
    try {
      static_cast<void>(t.choose(target));
    } catch (const core::Error& error) {
      return error.what();
    }
    return "accepted";
  };
  EXPECT_NE(refusal({.size = needed - 1}).find("at least " + std::to_string(needed)),
            std::string::npos);
  EXPECT_NE(refusal({.size = t.n + 1}).find("only " + std::to_string(t.n)), std::string::npos);
  EXPECT_NE(refusal({.coverage = 0.5}).find("no tokens"), std::string::npos);
  t.count("e") = 1;
  EXPECT_NE(refusal({.coverage = 1.5}).find("at most 1"), std::string::npos);
  EXPECT_EQ(refusal({.coverage = 1}), "accepted");
}

// Rows of the embedding beyond the tokenizer go first, also when no token of a text would go.
TEST(VocabularyChoice, PaddingRowsGoFirst) {
  Tiny t;
  const VocabularyChoice choice =
      choose_vocabulary(t.data, {}, t.counts, t.n + 7, {.size = t.n + 2});
  Ids expected(static_cast<std::size_t>(t.n) + 2);
  std::iota(expected.begin(), expected.end(), 0);
  EXPECT_EQ(choice.keep, expected);
}

// The price of an unknown character hangs on the least score, that of a user-defined piece on the
// greatest.
TEST(VocabularyChoice, UnigramKeepsItsPrices) {
  for (const char* name : {"model-nmt", "model-unigram"}) {
    const TokenizerData data = text::tokenizer_from_hf(text::fixture_directory(name));
    float least = 1e30f, greatest = -1e30f;
    for (std::size_t i = 0; i < data.tokens.size(); ++i)
      if (data.types[i] == text::TokenType::normal) {
        least = std::min(least, data.scores[i]);
        greatest = std::max(greatest, data.scores[i]);
      }
    const TokenizerData cut = checkpoint::cut_tokenizer(data, needed_tokens(data, {}));
    float least_kept = 1e30f, greatest_kept = -1e30f;
    for (std::size_t i = 0; i < cut.tokens.size(); ++i)
      if (cut.types[i] == text::TokenType::normal) {
        least_kept = std::min(least_kept, cut.scores[i]);
        greatest_kept = std::max(greatest_kept, cut.scores[i]);
      }
    EXPECT_EQ(least, least_kept) << name;
    EXPECT_EQ(greatest, greatest_kept) << name;
  }
}

}  // namespace
}  // namespace espalier::plan
