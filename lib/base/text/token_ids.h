// SPDX-License-Identifier: Apache-2.0
// The texts of a vocabulary, and the id of a text. All texts lie in one block of bytes. The ids lie
// in an open-addressed table. That takes 5 bytes a token in addition to its text, where strings in
// a map would take about a hundred.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace espalier::text {

class TokenIds {
 public:
  TokenIds() = default;
  // Room for `n` tokens, with at most 4 GB of text.
  explicit TokenIds(std::size_t n);
  // Gives the text the next id. Returns -1, or the id that the same text got before. find() keeps
  // returning that earlier id.
  std::int32_t add(std::string_view text);
  std::size_t size() const { return ends_.size(); }
  std::string_view text(std::int32_t id) const;    // id in [0, size())
  std::int32_t find(std::string_view text) const;  // -1: no such token
  bool operator==(const TokenIds&) const = default;

 private:
  // The slot of the text, or the free slot for it.
  std::size_t slot_of(std::string_view text) const;

  std::string bytes_;
  std::vector<std::uint32_t> ends_;
  std::vector<std::int32_t> slots_;  // -1: free; at most two thirds are taken
};

}  // namespace espalier::text
