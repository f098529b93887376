// SPDX-License-Identifier: Apache-2.0
// The chain of a token is what merging its text makes, in order, and nothing for a token that
// merging does not reach.
#include "text/merge_chain.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "support/tiny_model.h"
#include "text/fixtures.h"
#include "text/vocabulary.h"

namespace espalier::text {
namespace {

std::vector<std::string> chain_of(const TokenizerData& data, const std::string& token) {
  const TokenIds ids = index_tokens(data, "test");
  MergeChains chains(data, ids);
  std::vector<std::string> out;
  for (const std::int32_t id : chains.of(ids.find(token))) out.emplace_back(ids.text(id));
  return out;
}

using Words = std::vector<std::string>;

TEST(MergeChain, FollowsTheOrderOfTheMerges) {
  TokenizerData data = support::tiny_tokenizer(300);
  data.tokens.resize(3 + 256);
  data.merges = {"b c", "a b", "a bc", "ab c", "abc d"};
  for (const char* token : {"bc", "ab", "abc", "abcd", "dd", "a dd"})
    data.tokens.emplace_back(token);
  data.types.resize(data.tokens.size(), TokenType::normal);
  // b and c merge first, so "ab" is no part of it, although it could be.
  EXPECT_EQ(chain_of(data, "abcd"), (Words{"a", "b", "c", "d", "bc", "abc", "abcd"}));
  EXPECT_EQ(chain_of(data, "a"), Words{"a"});
  EXPECT_EQ(chain_of(data, "dd"), Words{}) << "nothing merges two d";
  EXPECT_EQ(chain_of(data, "a dd"), Words{}) << "a space is no letter of the alphabet";
  EXPECT_EQ(chain_of(data, "<|im_end|>"), Words{});
}

TEST(MergeChain, OfScoresAndOfUnigram) {
  const TokenizerData spm = tokenizer_from_hf(fixture_directory("spm"));
  const Tokenizer tokenizer(spm);
  std::int64_t made = 0;
  for (std::size_t i = 0; i < spm.tokens.size(); ++i) {
    const Words chain = chain_of(spm, spm.tokens[i]);
    if (chain.empty()) continue;
    ++made;
    EXPECT_EQ(chain.back(), spm.tokens[i]);
  }
  EXPECT_GT(made, 150);
  const TokenizerData unigram = tokenizer_from_hf(fixture_directory("model-unigram"));
  for (const std::string& token : unigram.tokens) EXPECT_EQ(chain_of(unigram, token), Words{});
}

}  // namespace
}  // namespace espalier::text
