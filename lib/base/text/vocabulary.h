// SPDX-License-Identifier: Apache-2.0
// From the strings of TokenizerData to ids: lookup by token, the merges as ids, and for spm the
// merges that its scores imply.
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "text/merge_table.h"
#include "text/token_ids.h"
#include "text/tokenizer.h"

namespace espalier::text {

inline constexpr std::string_view kSpaceSymbol = "\xE2\x96\x81";  // U+2581, SentencePiece's space

std::size_t count_code_points(std::string_view text);  // of valid UTF-8
// For messages: at most 60 bytes of a token or merge, in quotes.
std::string shown(std::string_view token);
// Refuses empty, repeated and broken tokens.
TokenIds index_tokens(const TokenizerData& data, const std::string& where);
// All that check_tokenizer() refuses but for merges.
TokenIds check_vocabulary(const TokenizerData& data, const std::string& where);
// byte_bpe: data.merges as ids, in rank order; refuses what cannot be merged.
std::vector<Merge> resolve_merges(const TokenizerData& data, const TokenIds& ids,
                                  const std::string& where);
// spm: whether merging makes each token. Normal tokens, and user-defined ones with U+2581 in them:
// those cannot be found in text before spaces are written that way. Not those that are looked for
// after normalization: no text with them in it reaches merging.
std::vector<bool> merged_tokens(const TokenizerData& data);
// spm: every way to put a merged token together from two others, ranked by the result's score; a
// merge's order within equal scores is by place, as SentencePiece has it. Ordered by rank, then
// lengths of the left and the right part (longest first), as merge lists of tokenizer.json are:
// there, for runs of one character with one score, it comes to the same as the order by place.
std::vector<Merge> merges_from_scores(const TokenizerData& data, const TokenIds& ids);
// Byte of a token "<0x41>"; -1 for any other text.
int byte_of_token(std::string_view token);
std::string byte_token(int byte);

}  // namespace espalier::text
