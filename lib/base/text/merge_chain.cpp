// SPDX-License-Identifier: Apache-2.0
// Merges the text of one token as a word of its own, and notes what is made.
#include "text/merge_chain.h"

#include <optional>
#include <string>

#include "text/byte_alphabet.h"
#include "text/utf8.h"
#include "text/vocabulary.h"

namespace espalier::text {

MergeChains::MergeChains(const TokenizerData& data, const TokenIds& ids)
    : kind_(data.kind), ids_(ids) {
  if (kind_ == TokenizerKind::byte_bpe) {
    merges_ = MergeTable(resolve_merges(data, ids, "tokenizer"));
    for (int b = 0; b < 256; ++b)
      byte_ids_[static_cast<std::size_t>(b)] = ids.find(byte_symbol(static_cast<std::uint8_t>(b)));
  } else if (kind_ == TokenizerKind::spm) {
    merges_ = MergeTable(merges_from_scores(data, ids));
    merged_ = merged_tokens(data);
  }
}

// Cuts the text of a token into the symbols that merging begins with. False where one of them is no
// token, so that the whole cannot be made.
bool MergeChains::begin_word(std::int32_t id) {
  word_.clear();
  const std::string_view token = ids_.text(id);
  if (kind_ == TokenizerKind::byte_bpe) {
    const std::optional<std::string> bytes = bytes_of_symbols(token);
    if (!bytes) return false;
    for (const char c : *bytes) word_.push_back({byte_ids_[static_cast<unsigned char>(c)], 0});
  } else {
    for (std::size_t i = 0; i < token.size();) {
      const std::size_t length = code_point_at(token, i).length;
      const std::int32_t found = ids_.find(token.substr(i, length));
      word_.push_back({found >= 0 && merged_[static_cast<std::size_t>(found)] ? found : -1, 0});
      i += length;
    }
  }
  for (const Symbol& symbol : word_)
    if (symbol.id < 0) return false;
  return true;
}

const std::vector<std::int32_t>& MergeChains::of(std::int32_t id) {
  chain_.clear();
  if (kind_ == TokenizerKind::unigram || !begin_word(id)) return chain_;
  for (const Symbol& symbol : word_) chain_.push_back(symbol.id);
  merger_.apply(merges_, word_, &chain_);
  if (word_.size() != 1 || word_.front().id != id) chain_.clear();
  return chain_;
}

}  // namespace espalier::text
