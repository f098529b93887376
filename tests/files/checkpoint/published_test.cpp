// SPDX-License-Identifier: Apache-2.0
// The shapes in configs/dims come out at the parameter counts that were published for those models.
#include <gtest/gtest.h>

#include <filesystem>

#include "checkpoint/checkpoint.h"
#include "core/file.h"

namespace espalier::checkpoint {
namespace {

struct Published {
  const char* name;
  std::int64_t parameters;
};
// Model cards and safetensors indices (of Gemma 3 4B what is left of 4,300,079,472 without the
// eyes; of OpenELM 3B what its published shape gives, 3.04B on the card); of the Minitron models
// papers state 8.4B, 4.5B and 4.5B (arXiv 2408.11796).
const Published kPublished[] = {
    {"llama-3.1-8b", 8030261248},
    {"llama-3.2-1b", 1235814400},
    {"mistral-7b-v0.3", 7248023552},
    {"mistral-nemo-12b", 12247782400},
    {"qwen2.5-0.5b", 494032768},
    {"qwen2.5-7b", 7615616512},
    {"qwen3-0.6b", 596049920},
    {"gemma-2-2b", 2614341888},
    {"gemma-3-1b", 999885952},
    {"smollm3-3b", 3075098624},
    {"mistral-nemo-minitron-8b", 8414105600},
    {"llama-3.1-minitron-4b-width", 4512746496},
    {"llama-3.1-minitron-4b-depth", 4540469248},
    {"phi-3.5-mini", 3821079552},
    {"gpt2", 124439808},
    {"gpt2-xl", 1557611200},
    {"openelm-270m", 271527168},
    {"openelm-3b", 3036647424},
    {"gemma-3-4b", 3880263168},
};

TEST(Published, ParameterCounts) {
  const std::string folder = std::string(ESPALIER_SOURCE_DIR) + "/configs/dims/";
  std::size_t files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    files += entry.path().extension() == ".json" ? 1 : 0;
  EXPECT_EQ(files, std::size(kPublished));
  for (const Published& p : kPublished) {
    const Checkpoint shape = Checkpoint::open(folder + p.name + ".json", false);
    EXPECT_EQ(arch::parameters(shape.arch(), shape.dims()), p.parameters) << p.name;
  }
}

}  // namespace
}  // namespace espalier::checkpoint
