// SPDX-License-Identifier: Apache-2.0
// From the strings of TokenizerData to ids: lookup by token, the merges as ids, and for spm the
// merges that the scores imply.
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "text/merge_table.h"
#include "text/token_ids.h"
#include "text/tokenizer.h"

namespace espalier::text {

inline constexpr std::string_view kSpaceSymbol = "\xE2\x96\x81";  // U+2581, SentencePiece's space

std::size_t count_code_points(std::string_view text);  // `text` is valid UTF-8
// At most 60 bytes of a token or merge in quotes, for messages.
std::string shown(std::string_view token);
// Builds the lookup. Refuses empty, repeated and broken tokens.
TokenIds index_tokens(const TokenizerData& data, const std::string& where);
// Makes all checks of check_tokenizer() except those of merges.
TokenIds check_vocabulary(const TokenizerData& data, const std::string& where);
// byte_bpe: data.merges as ids, in rank order. Refuses entries that cannot be merged.
std::vector<Merge> resolve_merges(const TokenizerData& data, const TokenIds& ids,
                                  const std::string& where);
// spm: for each token, whether merging makes it. That holds for normal tokens, and for user-defined
// tokens with U+2581 in them, which cannot be found in a text before spaces become U+2581. It does
// not hold for tokens that are searched for after normalization: no text that contains them reaches
// merging.
std::vector<bool> merged_tokens(const TokenizerData& data);
// spm: every way to make a merged token from two others, ranked by the score of the result. Equal
// scores have equal ranks, so these merges apply leftmost first, as in SentencePiece.
//
// The list is ordered by rank, then by the lengths of the left and the right part (longest first),
// like the merge lists of tokenizer.json. In those lists, for runs of one character with one score,
// this order gives the same result as the order by position.
std::vector<Merge> merges_from_scores(const TokenizerData& data, const TokenIds& ids);
// The byte of a token "<0x41>". -1 for any other text.
int byte_of_token(std::string_view token);
std::string byte_token(int byte);

}  // namespace espalier::text
