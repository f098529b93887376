// SPDX-License-Identifier: Apache-2.0
// The flat optimizer against torch::optim::AdamW, and the norm.
#include "distill/adamw.h"

#include <gtest/gtest.h>
#include <torch/optim/adamw.h>

#include "model/ops/operations.h"

namespace espalier::distill {
namespace {

using torch::Tensor;

TEST(AdamW, EqualsTorchAfterThreeSteps) {
  torch::manual_seed(1);
  constexpr std::int64_t n = 70001;  // more than one task, odd
  const Tensor start = torch::randn({n}), scale = torch::rand({n}) * 1e-2;
  Tensor ours = start.clone(), gradient = torch::zeros({n}), first = torch::zeros({n}),
         second = torch::zeros({n});
  Tensor reference = start.clone().requires_grad_(true);
  torch::optim::AdamW optimizer(
      {reference}, torch::optim::AdamWOptions(1e-2).betas({0.9, 0.95}).eps(1e-8).weight_decay(0.1));
  const Segment all[] = {{0, n, 0.1}};
  for (std::int64_t step = 1; step <= 3; ++step) {
    const double rate = 1e-2 / static_cast<double>(step);
    const Tensor g = torch::randn({n}) * scale;
    static_cast<torch::optim::AdamWOptions&>(optimizer.param_groups()[0].options()).lr(rate);
    reference.mutable_grad() = g.clone();
    optimizer.step();
    gradient.copy_(g * 8);
    adamw_step({0.9, 0.95, 1e-8}, {step, rate, 1.0 / 8}, all, {ours, gradient, first, second});
    EXPECT_EQ(gradient.abs().max().item<double>(), 0) << "gradients are zeroed for the next step";
  }
  // Steps are up to 1e-2 each; both round in float32 at values of size up to 4.
  EXPECT_LT((ours - reference.detach()).abs().max().item<double>(), 2e-6);
  EXPECT_GT((ours - start).abs().mean().item<double>(), 1e-3);
}
// What other devices compute, here on the CPU.
TEST(AdamW, OperationsOfLibTorchEqualTheLoops) {
  torch::manual_seed(3);
  const Segment some[] = {{16, 1000, 0.1}, {1040, 333, 0.0}};
  AdamWState loops{torch::randn({1400}), {}, torch::zeros({1400}), torch::zeros({1400})};
  AdamWState operations{loops.parameters.clone(), {}, torch::zeros({1400}), torch::zeros({1400})};
  for (std::int64_t step = 1; step <= 3; ++step) {
    loops.gradients = torch::randn({1400});
    operations.gradients = loops.gradients.clone();
    const double length = euclidean_norm(loops.gradients);
    adamw_step({}, {step, 1e-2, 1.0 / 8}, some, loops);
    const model::ForcedOperations forced("reference");
    EXPECT_NEAR(euclidean_norm(operations.gradients), length, 1e-5 * length);
    adamw_step({}, {step, 1e-2, 1.0 / 8}, some, operations);
  }
  EXPECT_LT((loops.parameters - operations.parameters).abs().max().item<double>(), 2e-6);
  EXPECT_TRUE(torch::equal(loops.gradients, operations.gradients));
  EXPECT_LT((loops.second_moment - operations.second_moment).abs().max().item<double>(), 1e-7);
}
TEST(AdamW, TouchesOnlyItsSegments) {
  Tensor p = torch::ones({64}), g = torch::ones({64}), m = torch::zeros({64}),
         v = torch::zeros({64});
  const Segment some[] = {{16, 16, 0.5}, {48, 3, 0.0}};
  adamw_step({}, {1, 0.1, 1.0}, some, {p, g, m, v});
  EXPECT_TRUE(torch::equal(p.narrow(0, 0, 16), torch::ones({16})));
  EXPECT_NEAR(p[16].item<double>(), 1 - 0.1 * 0.5 - 0.1, 1e-5);
  EXPECT_NEAR(p[48].item<double>(), 1 - 0.1, 1e-5);
  EXPECT_EQ(p[51].item<double>(), 1);
}
TEST(AdamW, NormIsThatOfAllValues) {
  torch::manual_seed(2);
  const Tensor x = torch::randn({200003});
  EXPECT_NEAR(euclidean_norm(x), x.to(torch::kFloat64).norm().item<double>(), 1e-4);
  EXPECT_EQ(euclidean_norm(x.narrow(0, 0, 0)), 0);
}

}  // namespace
}  // namespace espalier::distill
