// SPDX-License-Identifier: Apache-2.0
// Finds all pieces that begin at a position of a text. The nodes of the trie are numbered level by
// level, so the children of a node are neighbours. A node takes 12 bytes. A step is a binary search
// among at most 256 labels.
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

namespace espalier::text {

class PieceTrie {
 public:
  PieceTrie() = default;
  // Takes pairs (piece, id). Pieces are distinct and not empty. The views are used only during
  // construction.
  explicit PieceTrie(std::vector<std::pair<std::string_view, std::int32_t>> pieces);
  bool empty() const { return nodes_.size() < 2; }
  bool operator==(const PieceTrie&) const = default;

  // Calls found(length, id) for each piece at `position`, shortest first.
  template <typename Found>
  void prefixes(std::string_view text, std::size_t position, Found found) const {
    if (empty()) return;
    std::size_t node = 0;
    for (std::size_t i = position; i < text.size(); ++i) {
      const auto byte = static_cast<unsigned char>(text[i]);
      const auto begin = nodes_.begin() + nodes_[node].first_child,
                 end = begin + nodes_[node].n_children;
      const auto child = std::lower_bound(
          begin, end, byte, [](const Node& a, unsigned char b) { return a.label < b; });
      if (child == end || child->label != byte) return;
      node = static_cast<std::size_t>(child - nodes_.begin());
      if (child->id >= 0) found(i + 1 - position, child->id);
    }
  }

 private:
  struct Node {
    std::uint32_t first_child = 0;
    std::int32_t id = -1;  // id of the piece that ends here; -1: none
    std::uint16_t n_children = 0;
    unsigned char label = 0;
    bool operator==(const Node&) const = default;
  };
  std::vector<Node> nodes_;
};

}  // namespace espalier::text
