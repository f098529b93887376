// SPDX-License-Identifier: Apache-2.0
// From which tokens merging makes a token: its chain. A vocabulary that keeps a token keeps its
// chain, or the token can no longer be reached.
//
// That is enough for a text to keep its pieces. Let a word be cut into pieces that are all kept.
// No merge crossed the border of two pieces, so the merges inside a piece were those of the piece
// by itself, in the same order: its chain. They all stay. Fewer merges are left, in the same order,
// so the best one at each step is the one that it was.
#pragma once
#include <array>
#include <cstdint>
#include <vector>

#include "text/merge_table.h"
#include "text/token_ids.h"
#include "text/tokenizer.h"

namespace espalier::text {

class MergeChains {
 public:
  // `data` has been checked (check_tokenizer). In a unigram vocabulary nothing merges.
  MergeChains(const TokenizerData& data, const TokenIds& ids);
  // The symbols that merging begins with and the tokens that it makes on the way, `id` itself last.
  // Ids may repeat. Empty where merging the token's text does not end in this one token.
  const std::vector<std::int32_t>& of(std::int32_t id);

 private:
  bool begin_word(std::int32_t id);

  TokenizerKind kind_;
  const TokenIds& ids_;
  MergeTable merges_;
  std::vector<bool> merged_;                  // spm
  std::array<std::int32_t, 256> byte_ids_{};  // byte_bpe
  Merger merger_;
  std::vector<Symbol> word_;
  std::vector<std::int32_t> chain_;
};

}  // namespace espalier::text
