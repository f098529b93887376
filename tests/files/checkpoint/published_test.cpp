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

const std::string kFolder = std::string(ESPALIER_SOURCE_DIR "/configs/dims/");

struct Counts {
  std::int64_t parameters = 0, active = 0;  // of which one token uses
};

// From parameters.tsv: the counts of every file, without its suffix.
std::map<std::string, Counts> published_counts() {
  std::istringstream table(core::read_text_file(kFolder + "parameters.tsv"));
  std::map<std::string, Counts> counts;
  for (std::string line; std::getline(table, line);) {
    if (line.starts_with('#')) continue;
    std::istringstream fields(line);
    std::string name, model, basis;
    Counts of;
    fields >> name >> of.parameters >> model >> basis;
    EXPECT_TRUE(fields) << line;
    if (!(fields >> of.active)) of.active = of.parameters;
    EXPECT_TRUE(counts.emplace(name, of).second) << line;
  }
  return counts;
}

TEST(Published, ParameterCounts) {
  const std::map<std::string, Counts> counts = published_counts();
  EXPECT_GE(counts.size(), 100u);
  int with_experts = 0;
  for (const auto& [name, of] : counts) {
    const Checkpoint shape = Checkpoint::survey(kFolder + name + ".json", false);
    EXPECT_EQ(arch::parameters(shape.arch(), shape.dims()), of.parameters) << name;
    EXPECT_EQ(arch::active_parameters(shape.arch(), shape.dims()), of.active) << name;
    with_experts += of.active < of.parameters ? 1 : 0;
  }
  EXPECT_EQ(with_experts, 2);
}

TEST(Published, TheTableNamesEveryShapeAndNoModelTwice) {
  const std::map<std::string, Counts> counts = published_counts();
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
