// SPDX-License-Identifier: Apache-2.0
// Results come in the order of their jobs, few of them wait, and errors come in their turn.
#include "core/ordered_jobs.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <stdexcept>
#include <string>
#include <thread>

namespace espalier::core {
namespace {

TEST(OrderedJobs, ResultsComeInOrder) {
  for (const int threads : {1, 2, 7}) {
    OrderedJobs jobs(threads);
    std::vector<int> used;
    std::atomic<int> begun = 0;
    int most_ahead = 0;
    for (int i = 0; i < 200; ++i)
      jobs.give(
          [i, &begun](OrderedJobs::Bytes& out) {
            ++begun;
            if (i % 5 == 0) std::this_thread::sleep_for(std::chrono::microseconds(300));
            out.assign(static_cast<std::size_t>(i % 3 + 1), static_cast<std::byte>(i));
          },
          [&, i](const OrderedJobs::Bytes& result) {
            EXPECT_EQ(result, OrderedJobs::Bytes(static_cast<std::size_t>(i % 3 + 1),
                                                 static_cast<std::byte>(i)));
            most_ahead = std::max(most_ahead, begun - i);
            used.push_back(i);
          });
    jobs.finish();
    ASSERT_EQ(used.size(), 200u);
    for (int i = 0; i < 200; ++i) EXPECT_EQ(used[static_cast<std::size_t>(i)], i);
    EXPECT_LE(most_ahead, 2 * threads + 2);
    jobs.finish();  // nothing is left
  }
}

TEST(OrderedJobs, TheFirstErrorInOrderIsTheOneThatComes) {
  OrderedJobs jobs(3);
  int used = 0;
  const auto give = [&](int i) {
    jobs.give(
        [i](OrderedJobs::Bytes&) {
          if (i == 1) std::this_thread::sleep_for(std::chrono::milliseconds(20));
          if (i == 1 || i == 2) throw std::runtime_error("job " + std::to_string(i));
        },
        [&](const OrderedJobs::Bytes&) { ++used; });
  };
  std::string said;
  try {
    for (int i = 0; i < 4; ++i) give(i);
    jobs.finish();
  } catch (const std::runtime_error& e) {
    said = e.what();
  }
  EXPECT_EQ(said, "job 1");
  EXPECT_EQ(used, 1);
}

TEST(OrderedJobs, WhatIsNotFinishedIsDropped) {
  std::atomic<int> ran = 0;
  {
    OrderedJobs jobs(2);
    for (int i = 0; i < 4; ++i)
      jobs.give([&](OrderedJobs::Bytes&) { ++ran; },
                [](const OrderedJobs::Bytes&) { FAIL() << "nobody asked for it"; });
  }
  EXPECT_LE(ran, 4);
}

}  // namespace
}  // namespace espalier::core
