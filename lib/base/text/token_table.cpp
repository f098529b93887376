// SPDX-License-Identifier: Apache-2.0
// Collection of tokens by id, with a bound on gaps.
#include "text/token_table.h"

#include <unordered_set>

#include "core/error.h"
#include "text/vocabulary.h"

namespace espalier::text {
namespace {

// Ids without a token, over the whole vocabulary.
constexpr std::uint64_t kMaxGap = 65536;

}  // namespace

TokenTable::TokenTable(TokenizerData& data, std::size_t n_expected)
    : data_(data), limit_(n_expected + kMaxGap) {}

std::size_t TokenTable::add(std::int64_t id, const std::string& token, const std::string& where) {
  ESP_CHECK(id >= 0 && static_cast<std::uint64_t>(id) < limit_, input, where, ": token ",
            shown(token), " has id ", id, ", outside the ", limit_, " ids this vocabulary may use");
  const auto index = static_cast<std::size_t>(id);
  if (index >= data_.tokens.size()) {
    data_.tokens.resize(index + 1);
    data_.types.resize(index + 1, TokenType::unused);
  }
  ESP_CHECK(data_.tokens[index].empty() || data_.tokens[index] == token, input, where, ": tokens ",
            shown(data_.tokens[index]), " and ", shown(token), " both have id ", id);
  data_.tokens[index] = token;
  return index;
}

void TokenTable::fill_gaps() {
  std::unordered_set<std::string> taken(data_.tokens.begin(), data_.tokens.end());
  for (std::size_t i = 0; i < data_.tokens.size(); ++i) {
    if (!data_.tokens[i].empty()) continue;
    std::string name = "[PAD" + std::to_string(i) + "]";
    while (!taken.insert(name).second) name += "_";
    data_.tokens[i] = name;
  }
}

}  // namespace espalier::text
