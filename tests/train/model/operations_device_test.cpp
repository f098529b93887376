// SPDX-License-Identifier: Apache-2.0
// Every row of operations on its device, and the reference on every device, against the reference
// on the CPU: values and gradients. Then whole models. ESPALIER_DEVICE names the device; without it
// these run on cpu and on meta, where there are shapes alone.
#include <gtest/gtest.h>

#include <cstdlib>
#include <set>

#include "core/error.h"
#include "model/transformer.h"
#include "operation_cases.h"
#include "support/golden_models.h"

namespace espalier::model {
namespace {

using torch::Tensor;

std::vector<torch::Device> devices() {
  const char* name = std::getenv("ESPALIER_DEVICE");
  if (name != nullptr && *name != '\0') return {torch::Device(std::string(name))};
  return {torch::kCPU, torch::kMeta};
}
const Operations& reference() { return operation_rows().front(); }
std::vector<const Operations*> rows_on(torch::Device device) {
  std::vector<const Operations*> out;
  for (const Operations& row : operation_rows())
    if (!row.device || *row.device == device.type()) out.push_back(&row);
  return out;
}

// A value and the gradients of all inputs for an upstream gradient that is the same everywhere.
std::vector<Tensor> results(const OperationCase& of, const Operations& row, torch::Device device) {
  std::vector<Tensor> inputs;
  for (const Tensor& t : of.inputs)
    inputs.push_back(t.detach().clone().to(device).requires_grad_(true));
  const Tensor value = of.apply(row, inputs);
  torch::manual_seed(2);
  value.backward(torch::randn(value.sizes()).to(value.options()));
  std::vector<Tensor> out = {value.detach()};
  for (const Tensor& t : inputs) out.push_back(t.grad());
  return out;
}

void expect_same(const Tensor& ours, const Tensor& right, double tolerance,
                 const std::string& what) {
  ASSERT_TRUE(ours.defined()) << what;
  ASSERT_EQ(ours.sizes(), right.sizes()) << what;
  ASSERT_EQ(ours.scalar_type(), right.scalar_type()) << what;
  if (ours.is_meta()) return;
  EXPECT_LT((ours.cpu() - right).abs().max().item<double>(),
            tolerance * (1 + right.abs().max().item<double>()))
      << what;
}

TEST(Operations, EveryRowEqualsTheReference) {
  std::set<std::string> covered;
  for (const OperationCase& of : operation_cases()) {
    const std::vector<Tensor> right = results(of, reference(), torch::kCPU);
    ASSERT_TRUE(torch::isfinite(right[0]).all().item<bool>());
    covered.insert(of.operation);
    for (const torch::Device device : devices())
      for (const Operations* row : rows_on(device)) {
        const std::vector<Tensor> ours = results(of, *row, device);
        for (std::size_t i = 0; i < right.size(); ++i)
          expect_same(ours[i], right[i], of.tolerance,
                      of.operation + " " + of.size + " of " + row->name + " on " + device.str() +
                          (i == 0 ? "" : ", gradient " + std::to_string(i)));
      }
  }
  EXPECT_EQ(covered.size(), kOperations);
}

// The reference in double is what float32 may miss by its roundings alone.
TEST(Operations, TheReferenceIsStableInFloat32) {
  for (const OperationCase& of : operation_cases()) {
    if (of.operation == "linears") continue;  // computes in the type that is asked for
    OperationCase exact = of;
    for (Tensor& t : exact.inputs) t = t.to(torch::kFloat64);
    const std::vector<Tensor> right = results(exact, reference(), torch::kCPU),
                              ours = results(of, reference(), torch::kCPU);
    for (std::size_t i = 0; i < right.size(); ++i)
      expect_same(ours[i], right[i].to(torch::kFloat32), of.tolerance,
                  of.operation + " " + of.size + ", " + std::to_string(i));
  }
}

// With a gradient in place each weight's backward adds to that very buffer.
TEST(Operations, GradientsAreAddedInPlace) {
  for (const torch::Device device : devices())
    for (const Operations* row : rows_on(device)) {
      torch::manual_seed(7);
      const auto leaf = [&](std::vector<std::int64_t> sizes) {
        return torch::randn(sizes).to(device).requires_grad_(true);
      };
      const Tensor x = leaf({5, 12}),
                   ids = torch::tensor({2, 0, 2, 1, 1}, torch::kInt64).to(device);
      const std::vector<Tensor> weights = {leaf({12}), leaf({9, 12}), leaf({3, 9})};
      const auto run = [&] {
        const Tensor h = row->rms_norm(x, weights[0], 1e-5);
        (row->linears(h, {weights[1]}, torch::kFloat32)[0] * row->embed_rows(ids, weights[2]))
            .sum()
            .backward();
      };
      run();
      std::vector<Tensor> once, buffers;
      for (const Tensor& w : weights) {
        once.push_back(w.grad().clone());
        buffers.push_back(w.grad());
      }
      run();
      for (std::size_t i = 0; i < weights.size(); ++i) {
        EXPECT_TRUE(weights[i].grad().is_same(buffers[i])) << row->name;
        if (!device.is_meta())
          expect_same(weights[i].grad().cpu(), (2 * once[i]).cpu(), 2e-5, row->name);
      }
    }
}

TEST(Operations, ARowIsForItsDevice) {
  EXPECT_STREQ(operations(torch::kCPU).name, "cpu");
  EXPECT_STREQ(operations(torch::kMeta).name, "reference");
  {
    const ForcedOperations forced("reference");
    EXPECT_STREQ(operations(torch::kCPU).name, "reference");
  }
  {
    const ForcedOperations forced("cpu");
    EXPECT_THROW(operations(torch::kMeta), core::Error);
  }
  EXPECT_STREQ(operations(torch::kMeta).name, "reference");
  EXPECT_THROW(ForcedOperations("abacus"), core::Error);
}

class Models : public testing::TestWithParam<const char*> {};

// Logits and gradients of a model that was loaded to the device.
TEST_P(Models, AreTheSameOnTheDevice) {
  const support::GoldenModel golden = support::golden_model(GetParam());
  const auto source = checkpoint::Checkpoint::open(golden.directory);
  const auto ids = torch::tensor(std::vector<std::int64_t>(golden.sequences[0].begin(),
                                                           golden.sequences[0].end()))
                       .unsqueeze(0);
  const auto run = [&](torch::Device device) {
    const Transformer model = Transformer::load(source, {.trainable = true, .device = device});
    const Tensor logits = model.forward(ids);
    torch::manual_seed(3);
    logits.backward(torch::randn(logits.sizes()).to(device));
    std::vector<Tensor> out = {logits.detach()};
    for (const Tensor& weight : model.parameters()) out.push_back(weight.grad());
    return out;
  };
  const std::vector<Tensor> right = run(torch::kCPU);
  const auto expect = [&](const std::vector<Tensor>& ours, const std::string& what) {
    ASSERT_EQ(ours.size(), right.size());
    for (std::size_t i = 0; i < right.size(); ++i) {
      if (right[i].defined() && right[i].numel() > 0)
        expect_same(ours[i], right[i], 1e-4, what + ", tensor " + std::to_string(i));
    }
  };
  for (const torch::Device device : devices()) {
    expect(run(device), device.str());
    const ForcedOperations forced("reference");
    expect(run(device), "the reference on " + device.str());
  }
}
INSTANTIATE_TEST_SUITE_P(Families, Models, testing::ValuesIn(support::kGoldenModels),
                         [](const auto& test) { return std::string(test.param); });

}  // namespace
}  // namespace espalier::model
