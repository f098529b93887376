// SPDX-License-Identifier: Apache-2.0
// Every recipe and config that ships parses, and there are as many as we think.
#include <gtest/gtest.h>

#include <filesystem>

#include "checkpoint/checkpoint.h"
#include "distill/options.h"
#include "recipe/option_reader.h"
#include "recipe/recipe.h"
#include "recipe/step.h"

namespace espalier::recipe {
namespace {

namespace fs = std::filesystem;
const fs::path kSource = ESPALIER_SOURCE_DIR;

TEST(Recipes, AllThatShipParse) {
  int n = 0;
  for (const char* folder : {"recipes", "recipes/field", "tests/recipes"})
    for (const auto& file : fs::directory_iterator(kSource / folder)) {
      if (file.is_directory()) continue;
      const Recipe recipe = parse_recipe(file.path().string());
      EXPECT_EQ(recipe.name, file.path().stem().string());
      EXPECT_FALSE(recipe.stages.empty());
      EXPECT_EQ(recipe.text.rfind("# ", 0), 0u)
          << file.path() << ": the first comment is the command";
      ++n;
    }
  EXPECT_GE(n, 17);
}

// The Minitron shapes as published (arXiv 2408.11796: 8.4B, 4.5B, 4.5B); GPT-2 774M.
TEST(Recipes, ThoseOfTheFieldArePlannedFromPublishedShapesAlone) {
  const std::map<std::string, std::int64_t> published{{"mistral-nemo-minitron-8b", 8414105600},
                                                      {"llama-3.1-minitron-4b-width", 4512746496},
                                                      {"llama-3.1-minitron-4b-depth", 4540469248},
                                                      {"gpt2-xl", 774030080}};
  std::size_t seen = 0;
  for (const auto& file : fs::directory_iterator(kSource / "recipes/field")) {
    const auto plan = plan_recipe(file.path().string());
    EXPECT_EQ(plan["missing"].size(), 3u) << file.path();
    const auto shape = checkpoint::Checkpoint::open(
        parse_recipe(file.path().string()).teacher_shape, /*need_tensors=*/false);
    const std::int64_t teacher = arch::parameters(shape.arch(), shape.dims());
    const std::int64_t parameters = plan["stages"][0]["parameters"].get<std::int64_t>();
    EXPECT_LT(parameters, teacher) << file.path();
    EXPECT_LT(plan["stages"][2]["bytes"].get<std::int64_t>(), teacher * 2) << file.path();
    if (const auto it = published.find(file.path().stem().string()); it != published.end()) {
      EXPECT_EQ(parameters, it->second) << file.path();
      ++seen;
    }
  }
  EXPECT_EQ(seen, published.size());
}

TEST(Configs, AllThatShipParse) {
  int n = 0;
  for (const auto& file : fs::directory_iterator(kSource / "configs/train")) {
    distill::TrainOptions options;
    read_options_file(file.path().string(), distill::describe(options));
    EXPECT_GT(options.learning_rate, 0);
    ++n;
  }
  for (const auto& file : fs::directory_iterator(kSource / "configs/gates")) {
    const auto stage = stages::find_kind("verify")->make();
    EXPECT_NO_THROW(read_map_file(file.path().string(), stage->options().at("gates")));
    ++n;
  }
  EXPECT_GE(n, 2);
}

}  // namespace
}  // namespace espalier::recipe
