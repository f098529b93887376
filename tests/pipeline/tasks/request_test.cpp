// SPDX-License-Identifier: Apache-2.0
// Trees hold every request's tokens and predictions, each shared token once.
#include "tasks/request.h"

#include <gtest/gtest.h>

#include <map>

#include "core/error.h"
#include "tasks/score.h"

namespace espalier::tasks {
namespace {

Request request(std::vector<std::int32_t> ids, std::int64_t scored) {
  return {.ids = std::move(ids), .scored = scored};
}

// The tokens before each prediction, and the predicted one, by request.
using Paths =
    std::map<std::size_t, std::vector<std::pair<std::vector<std::int32_t>, std::int32_t>>>;
Paths paths_of(const std::vector<Tree>& trees) {
  Paths out;
  for (const Tree& tree : trees)
    for (const Prediction& p : tree.predictions) {
      std::vector<std::int32_t> path(tree.ids.begin(),
                                     tree.ids.begin() + std::min(p.row + 1, tree.trunk));
      std::int64_t first = tree.trunk;
      for (const std::int64_t n : tree.branches) {
        if (p.row >= first && p.row < first + n)
          path.insert(path.end(), tree.ids.begin() + first, tree.ids.begin() + p.row + 1);
        first += n;
      }
      EXPECT_EQ(first, static_cast<std::int64_t>(tree.ids.size()));
      out[p.request].push_back({path, p.token});
    }
  return out;
}
Paths expected(const std::vector<Request>& requests, std::size_t first) {
  Paths out;
  for (std::size_t i = 0; i < requests.size(); ++i) {
    const std::vector<std::int32_t>& ids = requests[i].ids;
    for (std::size_t at = ids.size() - static_cast<std::size_t>(requests[i].scored);
         at < ids.size(); ++at)
      out[first + i].push_back({{ids.begin(), ids.begin() + static_cast<long>(at)}, ids[at]});
  }
  return out;
}

TEST(Trees, HoldEveryPrediction) {
  const std::vector<std::vector<Request>> cases{
      {request({1, 2, 3, 4}, 2), request({1, 2, 3, 5}, 2), request({1, 2, 6, 7, 8}, 3)},
      // Choices of one token: nothing but the context is read.
      {request({1, 2, 3}, 1), request({1, 2, 4}, 1)},
      // One begins another, and a choice is longer than it shares.
      {request({1, 2}, 1), request({1, 2, 3, 4}, 3), request({1, 9, 9}, 2)},
      // Nothing shared.
      {request({1, 2, 3}, 1), request({4, 2, 3}, 2)},
      {request({1, 2, 3, 4}, 3)}};
  std::vector<std::int64_t> trunks, tokens;
  for (const auto& requests : cases) {
    const std::vector<Tree> trees = trees_of(requests, 7, 0);
    ASSERT_EQ(trees.size(), 1u);
    EXPECT_EQ(paths_of(trees), expected(requests, 7));
    trunks.push_back(trees[0].trunk);
    tokens.push_back(static_cast<std::int64_t>(trees[0].ids.size()));
    EXPECT_EQ(paths_of(trees_of(requests, 7, 2)), expected(requests, 7));
  }
  EXPECT_EQ(trunks, (std::vector<std::int64_t>{2, 2, 1, 0, 3}));
  EXPECT_EQ(tokens, (std::vector<std::int64_t>{6, 2, 4, 4, 3}));
}

TEST(Trees, LongRequestsStandApart) {
  const std::vector<Request> requests{request({1, 2, 3}, 1), request({1, 2, 3, 4}, 1),
                                      request({1, 2, 5}, 1)};
  const std::vector<Tree> trees = trees_of(requests, 0, 2);
  ASSERT_EQ(trees.size(), 2u);
  EXPECT_EQ(trees[0].longest(), 2);
  EXPECT_EQ(trees[1].longest(), 3);
}

TEST(Score, TheFirstOfEqualOnesAndLengths) {
  const Layout choice{"c", {}, {}, false, nullptr}, cloze{"z", {}, {}, true, nullptr};
  Item item{.questions = {{"", " a", 1, 1}, {"", " bb", 2, 4}, {"", " c", 1, 1}}, .answer = 1};
  const std::vector<Likelihood> likelihoods{{-4, false}, {-6, false}, {-4, true}};
  const ItemScore score = score_item(item, choice, likelihoods);
  EXPECT_FALSE(score.acc);       // the first of the two best ones
  EXPECT_TRUE(score.acc_norm);   // -3 a character
  EXPECT_TRUE(score.acc_bytes);  // -1.5 a byte
  item.answer = 0;
  EXPECT_TRUE(score_item(item, choice, likelihoods).acc);
  EXPECT_TRUE(score_item(item, cloze, std::vector<Likelihood>{{-1, true}}).acc);
  EXPECT_FALSE(score_item(item, cloze, std::vector<Likelihood>{{-1, false}}).acc);
  const Task task{.name = "t", .path = "t", .layout = &choice, .items = {item}};
  EXPECT_TRUE(summary(task, std::vector<ItemScore>{score})["acc_stderr"].is_null());
}

}  // namespace
}  // namespace espalier::tasks
