// SPDX-License-Identifier: Apache-2.0
// The shapes in configs/dims come out at the parameter counts that were published for those models.
// Where the counts are from stands in the table beside the shapes. Transformers judges the table:
// scripts/golden/published_parameters.py.
#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <set>
#include <sstream>

#include "checkpoint/checkpoint.h"
#include "core/file.h"

namespace espalier::checkpoint {
namespace {

const std::string kFolder = std::string(ESPALIER_SOURCE_DIR) + "/configs/dims/";

// From parameters.tsv: the count of every file, without its suffix.
std::map<std::string, std::int64_t> published_counts() {
  std::istringstream table(core::read_text_file(kFolder + "parameters.tsv"));
  std::map<std::string, std::int64_t> counts;
  for (std::string line; std::getline(table, line);) {
    if (line.starts_with('#')) continue;
    std::istringstream fields(line);
    std::string name, model;
    std::int64_t parameters = 0;
    fields >> name >> parameters >> model;
    EXPECT_TRUE(fields && counts.emplace(name, parameters).second) << line;
  }
  return counts;
}

TEST(Published, ParameterCounts) {
  const std::map<std::string, std::int64_t> counts = published_counts();
  EXPECT_GE(counts.size(), 100u);
  for (const auto& [name, parameters] : counts) {
    const Checkpoint shape = Checkpoint::open(kFolder + name + ".json", false);
    EXPECT_EQ(arch::parameters(shape.arch(), shape.dims()), parameters) << name;
  }
}

TEST(Published, TheTableNamesEveryShapeAndNoModelTwice) {
  const std::map<std::string, std::int64_t> counts = published_counts();
  std::set<std::string> contents;
  for (const auto& entry : std::filesystem::directory_iterator(kFolder)) {
    if (entry.path().extension() != ".json") continue;
    EXPECT_TRUE(counts.contains(entry.path().stem().string())) << entry.path();
    EXPECT_TRUE(contents.insert(core::read_text_file(entry.path().string())).second)
        << entry.path();
  }
  EXPECT_EQ(contents.size(), counts.size());
}

}  // namespace
}  // namespace espalier::checkpoint
