// SPDX-License-Identifier: Apache-2.0
// The texts of a vocabulary and the way back from a text to its id. All texts lie in one block of
// bytes behind one another, ids in an open-addressed table: 5 bytes a token beside its own, where
// strings in a map would take a hundred.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace espalier::text {

class TokenIds {
 public:
  TokenIds() = default;
  // Room for `n` tokens, of at most 4 GB together.
  explicit TokenIds(std::size_t n);
  // Gives the text the next id; -1, or the id of the same text if there was one, which then stays
  // the one that find() has.
  std::int32_t add(std::string_view text);
  std::size_t size() const { return ends_.size(); }
  std::string_view text(std::int32_t id) const;    // of an id in [0, size())
  std::int32_t find(std::string_view text) const;  // -1: no such token
  bool operator==(const TokenIds&) const = default;

 private:
  std::size_t slot_of(std::string_view text) const;  // where the text is, or would be

  std::string bytes_;
  std::vector<std::uint32_t> ends_;
  std::vector<std::int32_t> slots_;  // -1: free; at most two thirds are taken
};

}  // namespace espalier::text
