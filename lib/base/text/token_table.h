// SPDX-License-Identifier: Apache-2.0
// Collects token texts by id in any order, with repetitions, as files give them. Ids may have gaps,
// but not so many that the table would become large.
#pragma once
#include <cstdint>
#include <string>

#include "text/tokenizer.h"

namespace espalier::text {

class TokenTable {
 public:
  // Fills tokens and types of `data`, which must outlive this object. `n_expected` is the number of
  // tokens if there are no gaps.
  TokenTable(TokenizerData& data, std::size_t n_expected);
  // The index of the token. New tokens get the type unused. Error when the id is out of range or
  // another token has it.
  std::size_t add(std::int64_t id, const std::string& token, const std::string& where);
  // Makes up names for ids without a token.
  void fill_gaps();

 private:
  TokenizerData& data_;
  std::uint64_t limit_;
};

}  // namespace espalier::text
