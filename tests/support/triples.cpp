// SPDX-License-Identifier: Apache-2.0
#include "support/triples.h"

#include <iostream>
#include <map>
#include <set>
#include <tuple>

namespace espalier::support {
namespace {

std::set<std::tuple<std::string, std::string, std::string>>& seen() {
  static std::set<std::tuple<std::string, std::string, std::string>> triples;
  return triples;
}

}  // namespace

void Triples::passed(std::string_view family, const std::string& checkpoint,
                     const std::string& check) {
  if (!testing::Test::HasFailure()) seen().insert({std::string(family), checkpoint, check});
}

void Triples::TearDown() {
  std::set<std::string> families, checkpoints;
  for (const auto& [family, checkpoint, check] : seen()) {
    families.insert(family);
    checkpoints.insert(checkpoint);
  }
  std::cout << side_ << ": " << seen().size() << " triples (family, checkpoint, check) of "
            << families.size() << " families and " << checkpoints.size() << " checkpoints\n";
  if (testing::GTEST_FLAG(filter) != "*") return;  // not all of them were asked for
  EXPECT_EQ(seen().size(), expected_)
      << side_ << ": checks of golden checkpoints that went wrong, came or were lost";
}

}  // namespace espalier::support
