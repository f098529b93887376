// SPDX-License-Identifier: Apache-2.0
// Builds the trie level by level from the sorted pieces.
#include "text/piece_trie.h"

namespace espalier::text {

PieceTrie::PieceTrie(std::vector<std::pair<std::string_view, std::int32_t>> pieces) {
  std::sort(pieces.begin(), pieces.end());
  struct Range {
    std::uint32_t begin, end;  // the range of pieces that go through the node
  };
  std::vector<Range> level = {{0, static_cast<std::uint32_t>(pieces.size())}}, next;
  nodes_.resize(1);
  for (std::size_t depth = 0, first = 0; !level.empty(); ++depth) {
    const std::size_t level_end = nodes_.size();
    next.clear();
    for (std::size_t k = 0; k < level.size(); ++k) {
      nodes_[first + k].first_child = static_cast<std::uint32_t>(nodes_.size());
      std::uint32_t i = level[k].begin;
      if (i < level[k].end && pieces[i].first.size() == depth)
        nodes_[first + k].id = pieces[i++].second;
      while (i < level[k].end) {
        const char label = pieces[i].first[depth];
        std::uint32_t end = i + 1;
        while (end < level[k].end && pieces[end].first[depth] == label) ++end;
        nodes_.push_back({.label = static_cast<unsigned char>(label)});
        ++nodes_[first + k].n_children;
        next.push_back({i, end});
        i = end;
      }
    }
    first = level_end;
    level.swap(next);
  }
}

}  // namespace espalier::text
