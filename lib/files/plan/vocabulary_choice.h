// SPDX-License-Identifier: Apache-2.0
// Which tokens of a vocabulary stay when it is cut to a size, or to a share of what a text uses.
//
// First come the tokens that are always needed (needed_tokens). Then the tokens of the text, the
// most frequent first, and of equals the lower id. Each brings its chain (text/merge_chain.h), for
// without it the token could not be reached. Where the chain does not fit into the size any more,
// the token is left out and the next one is tried. When the text has no further tokens, those that
// it does not use follow, by id: in vocabularies that were trained, low ids are frequent tokens.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "text/documents.h"
#include "text/tokenizer.h"

namespace espalier::plan {

// One of the two is given.
struct VocabularyTarget {
  std::optional<std::int64_t> size = {};
  std::optional<double> coverage = {};  // share of the text's tokens, in (0, 1]

  bool given() const { return size || coverage; }
};

struct VocabularyChoice {
  std::vector<std::int64_t> keep;  // sorted ids
  std::int64_t needed = 0;         // of them, those that are always kept
  std::int64_t tokens = 0;         // of the text
  std::int64_t covered = 0;        // of those, how many are kept tokens

  double coverage() const {
    return tokens > 0 ? static_cast<double>(covered) / static_cast<double>(tokens) : 1;
  }
};

// How often each token occurs in the documents, as the model reads them.
std::vector<std::int64_t> count_tokens(const text::TokenizerData& data,
                                       const text::Documents& documents,
                                       const text::Reading& reading);

// The ids, sorted, that stay whatever a text says:
// - bytes, the alphabet of byte-level BPE, control, user-defined and unknown tokens
// - what `configs` name, BOS, EOS and padding
// - what the chat template writes by itself: its literal texts, and a conversation rendered
// - for unigram, what keeps the price of an unknown character (see the .cpp)
// - the chains of all these
std::vector<std::int64_t> needed_tokens(const text::TokenizerData& data,
                                        const std::vector<std::int64_t>& named);

// `counts` by id. Error(usage) for a size above `rows` or below what is needed.
VocabularyChoice choose_vocabulary(const text::TokenizerData& data,
                                   const std::vector<std::int64_t>& named,
                                   const std::vector<std::int64_t>& counts, std::int64_t rows,
                                   const VocabularyTarget& target);
struct CountedText {
  std::string path;
  double weight = 1;
};
// The same of a model and texts. The tokens of each count in proportion to its weight, whatever its
// length. Without a text nothing is counted, and only the size is checked.
VocabularyChoice choose_vocabulary(const checkpoint::Checkpoint& source,
                                   const std::vector<CountedText>& texts,
                                   const text::Reading& reading, const VocabularyTarget& target);

}  // namespace espalier::plan
