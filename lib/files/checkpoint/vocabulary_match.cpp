// SPDX-License-Identifier: Apache-2.0
// Finds the tokens of one model among those of another.
#include "checkpoint/vocabulary_match.h"

#include "checkpoint/vocabulary.h"
#include "core/notes.h"

namespace espalier::checkpoint {

VocabularyMatch match_vocabularies(const Checkpoint& whole, const Checkpoint& part) {
  if (whole.dims().vocab == part.dims().vocab &&
      text::same_vocabulary(whole.tokenizer(), part.tokenizer()))
    return {.kind = VocabularyMatch::Kind::same};
  auto keep = ids_of_part(whole.tokenizer(), part.tokenizer());
  if (!keep || static_cast<std::int64_t>(keep->size()) != part.dims().vocab) return {};
  return {.kind = VocabularyMatch::Kind::part, .keep = std::move(*keep)};
}

void keep_part(Checkpoint& whole, const Checkpoint& part, const VocabularyMatch& match) {
  if (match.kind != VocabularyMatch::Kind::part) return;
  core::note(whole.path() + ": of its " + std::to_string(whole.dims().vocab) + " tokens, the " +
             std::to_string(match.keep.size()) + " that " + part.path() +
             " has are read, and its probabilities are those among them");
  whole.keep_vocabulary(match.keep);
}

}  // namespace espalier::checkpoint
