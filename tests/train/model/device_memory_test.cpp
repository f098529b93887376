// SPDX-License-Identifier: Apache-2.0
// What the device meta counts against what the CPU allocates, for every family.
#include "model/device_memory.h"

#include <gtest/gtest.h>

#include "checkpoint/checkpoint.h"
#include "model/allocation_counter.h"
#include "model/ops/operations.h"
#include "support/golden_models.h"

namespace espalier::model {
namespace {

TEST(AllocationCounter, CountsWhatIsHeldAndTheMost) {
  for (const torch::DeviceType device : {torch::kCPU, torch::kMeta}) {
    const auto options = torch::TensorOptions(torch::kFloat32).device(device);
    torch::Tensor outlives;
    {
      AllocationCounter counter(device);
      outlives = torch::empty({10}, options);
      {
        const torch::Tensor large = torch::empty({1000}, options);
        EXPECT_EQ(counter.held(), 4040);
      }
      EXPECT_EQ(counter.held(), 40);
      EXPECT_EQ(counter.peak(), 4040);
      counter.forget_peak();
      EXPECT_EQ(counter.peak(), 40);
    }
    AllocationCounter counter(device);
    outlives = torch::Tensor();
    EXPECT_EQ(counter.held(), 0);
  }
}

class StepMemory : public testing::TestWithParam<const char*> {};

// The same operations on both, and the same bytes of more than a million, but for some scratch that
// LibTorch's functions for the CPU take: 256 bytes in some models.
TEST_P(StepMemory, IsWhatTheCpuAllocates) {
  const auto source = checkpoint::Checkpoint::open(support::golden_model(GetParam()).directory);
  const ModelSize size{source.arch(), source.dims()};
  for (const torch::ScalarType dtype : {torch::kFloat32, torch::kBFloat16}) {
    const StepSize step{4, 32, dtype};
    const DeviceMemory counted = device_memory(size, size, step);
    const std::int64_t parameters = arch::parameters(source.arch(), source.dims());
    EXPECT_EQ(counted.teacher, 4 * parameters);
    EXPECT_EQ(counted.weights, 4 * parameters);
    EXPECT_EQ(counted.gradients, 4 * parameters);
    EXPECT_EQ(counted.moments, 8 * parameters);
    const ForcedOperations forced("reference");
    const DeviceMemory measured = measured_memory(torch::kCPU, size, size, step);
    // The frequencies of positions stay on the host, which here is the device too: three tables of
    // half a head, in double.
    const std::int64_t frequencies = 3 * source.dims().head_dim / 2 * 8;
    EXPECT_GE(measured.weights, counted.weights);
    EXPECT_LE(measured.weights, counted.weights + frequencies);
    EXPECT_EQ(measured.gradients, counted.gradients);
    EXPECT_GT(counted.passes, 500'000);
    EXPECT_GE(measured.passes, counted.passes);
    // Where the processor multiplies bfloat16, its library takes a little for itself.
    const std::int64_t scratch = dtype == torch::kBFloat16 ? counted.passes / 50 : 0;
    EXPECT_LE(measured.passes, counted.passes + 1024 + scratch);
  }
}
INSTANTIATE_TEST_SUITE_P(Families, StepMemory, testing::ValuesIn(support::kGoldenModels),
                         [](const auto& test) { return std::string(test.param); });

// Activations grow with the tokens, and a teacher adds its weights and hidden states.
TEST(DeviceMemory, GrowsWithWhatIsAsked) {
  const auto source = checkpoint::Checkpoint::open(support::golden_model("tied").directory);
  const ModelSize size{source.arch(), source.dims()};
  const DeviceMemory one = device_memory(size, std::nullopt, {1, 16}),
                     two = device_memory(size, std::nullopt, {2, 16}),
                     taught = device_memory(size, size, {1, 16});
  EXPECT_EQ(one.teacher, 0);
  EXPECT_GT(two.passes, one.passes * 3 / 2);
  EXPECT_LT(two.passes, one.passes * 2 + 1);
  // Its hidden states, and its sines and cosines of 16 positions.
  const std::int64_t kept = 16 * 4 * (source.dims().hidden + source.dims().head_dim);
  EXPECT_EQ(taught.passes, one.passes + kept);
  EXPECT_EQ(taught.total(), taught.teacher + one.total() + kept);
}

}  // namespace
}  // namespace espalier::model
