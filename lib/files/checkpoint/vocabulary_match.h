// SPDX-License-Identifier: Apache-2.0
// Whether two models can be compared token by token: their vocabularies are the same, or that of
// one was cut out of that of the other.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"

namespace espalier::checkpoint {

struct VocabularyMatch {
  enum class Kind : std::uint8_t { same, part, other } kind = Kind::other;
  std::vector<std::int64_t> keep = {};  // part: the ids of the whole that the part has
};
// `part` may have fewer tokens than `whole`, and not the reverse.
VocabularyMatch match_vocabularies(const Checkpoint& whole, const Checkpoint& part);
// Lets `whole` keep what `part` has, and leaves a note that says so. Its probabilities are then
// those of the kept tokens, which sum to one. Nothing changes where both are the same.
void keep_part(Checkpoint& whole, const Checkpoint& part, const VocabularyMatch& match);

}  // namespace espalier::checkpoint
