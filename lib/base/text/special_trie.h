// SPDX-License-Identifier: Apache-2.0
// Finds added tokens (control, user-defined) in a text: the longest token at the leftmost position.
// The search then goes on after it.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

namespace espalier::text {

class SpecialTrie {
 public:
  void insert(std::string_view content, std::int32_t id);  // content must not be empty
  bool empty() const { return nodes_.size() == 1; }
  struct Match {
    std::size_t start, length;
    std::int32_t id;  // -1: none found
  };
  // The first match at or after `from`.
  Match find(std::string_view text, std::size_t from) const;

 private:
  struct Node {
    std::vector<std::pair<unsigned char, std::uint32_t>> children;  // sorted by byte
    std::int32_t id = -1;  // id of the token that ends here; -1: none
  };
  std::uint32_t child(std::uint32_t node, unsigned char byte) const;  // 0: none
  std::vector<Node> nodes_{1};
  bool first_[256] = {};  // bytes with which a token begins
};

}  // namespace espalier::text
