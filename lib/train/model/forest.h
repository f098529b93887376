// SPDX-License-Identifier: Apache-2.0
// Texts that begin alike, in one pass: what the texts of a tree share is read once. The tokens of
// all trees stand in one row, and only positions and attention know of it.
//
//   ids        trunk of tree 1, its branches, trunk of tree 2, ...
//   positions  0 .. P-1 in a trunk of P tokens, and P, P+1, .. in each branch
//   attention  a branch sees its trunk and itself
#pragma once
#include <torch/types.h>

#include <cstdint>
#include <vector>

namespace espalier::model {

struct Forest {
  struct Tree {
    std::int64_t trunk = 0;              // tokens; may be 0
    std::vector<std::int64_t> branches;  // tokens of each; may be 0
  };

  void add(const Tree& tree);
  std::int64_t tokens() const { return static_cast<std::int64_t>(positions.size()); }
  std::int64_t longest() const;  // tokens of the longest text
  // The rows of a table [positions, ...] for each token.
  torch::Tensor rows(const torch::Tensor& table) const;

  std::vector<Tree> trees;
  std::vector<std::int64_t> positions;  // of each token
};

// While it lives, the passes of models on this thread read [1, tokens] as the forest, which must
// live as long. A guard, like c10::InferenceMode: scopes end in reverse order.
class ReadForest {
 public:
  explicit ReadForest(const Forest& forest);
  ~ReadForest();
  ReadForest(const ReadForest&) = delete;
  ReadForest& operator=(const ReadForest&) = delete;
  // The forest of this thread; null: texts are rows.
  static const Forest* current();

 private:
  const Forest* before_;
};

}  // namespace espalier::model
