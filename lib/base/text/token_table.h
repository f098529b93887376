// SPDX-License-Identifier: Apache-2.0
// Token texts by id, as files give them: in any order, some of them twice. Ids may have gaps, but
// not so many that the table would be large.
#pragma once
#include <cstdint>
#include <string>

#include "text/tokenizer.h"

namespace espalier::text {

class TokenTable {
 public:
  // Fills tokens and types of `data`, which must outlive this; `n_expected`: how many tokens there
  // may be without gaps.
  TokenTable(TokenizerData& data, std::size_t n_expected);
  // Index of the token, fresh ones with type unused; Error when the id is wild or another token has
  // it.
  std::size_t add(std::int64_t id, const std::string& token, const std::string& where);
  // Names for ids that no token has.
  void fill_gaps();

 private:
  TokenizerData& data_;
  std::uint64_t limit_;
};

}  // namespace espalier::text
