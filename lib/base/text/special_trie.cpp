// SPDX-License-Identifier: Apache-2.0
// A byte trie. A search costs at most the length of the longest token per position.
#include "text/special_trie.h"

#include <algorithm>

namespace espalier::text {
namespace {

bool before(const std::pair<unsigned char, std::uint32_t>& entry, unsigned char byte) {
  return entry.first < byte;
}

}  // namespace

std::uint32_t SpecialTrie::child(std::uint32_t node, unsigned char byte) const {
  const auto& children = nodes_[node].children;
  const auto found = std::lower_bound(children.begin(), children.end(), byte, before);
  return found != children.end() && found->first == byte ? found->second : 0;
}

void SpecialTrie::insert(std::string_view content, std::int32_t id) {
  if (content.empty()) return;
  first_[static_cast<unsigned char>(content[0])] = true;
  std::uint32_t node = 0;
  for (const char c : content) {
    const auto byte = static_cast<unsigned char>(c);
    std::uint32_t next = child(node, byte);
    if (next == 0) {
      next = static_cast<std::uint32_t>(nodes_.size());
      auto& children = nodes_[node].children;
      children.insert(std::lower_bound(children.begin(), children.end(), byte, before),
                      {byte, next});
      nodes_.emplace_back();
    }
    node = next;
  }
  if (nodes_[node].id < 0) nodes_[node].id = id;
}

SpecialTrie::Match SpecialTrie::find(std::string_view text, std::size_t from) const {
  for (std::size_t start = from; start < text.size(); ++start) {
    if (!first_[static_cast<unsigned char>(text[start])]) continue;
    Match best{start, 0, -1};
    std::uint32_t node = 0;
    for (std::size_t i = start; i < text.size(); ++i) {
      node = child(node, static_cast<unsigned char>(text[i]));
      if (node == 0) break;
      if (nodes_[node].id >= 0) best = {start, i + 1 - start, nodes_[node].id};
    }
    if (best.id >= 0) return best;
  }
  return {text.size(), 0, -1};
}

}  // namespace espalier::text
