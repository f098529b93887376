// SPDX-License-Identifier: Apache-2.0
// Values and gradients of the hand-written operations against plain LibTorch autograd, at odd
// sizes.
#include "model/functions.h"

#include <gtest/gtest.h>

#include <cmath>

#include "model/attention.h"
#include "model/vector_math.h"

namespace espalier::model {
namespace {

using torch::Tensor;

// Both compute in float32 with different orders of summation over at most a few hundred terms.
constexpr double kTolerance = 2e-5;

Tensor leaf(std::vector<std::int64_t> sizes) { return torch::randn(sizes).requires_grad_(true); }
void expect_close(const Tensor& a, const Tensor& b, const char* what) {
  ASSERT_TRUE(a.defined() && b.defined()) << what;
  EXPECT_LT((a - b).abs().max().item<double>(), kTolerance * (1 + b.abs().max().item<double>()))
      << what;
}
// Runs both on copies of the inputs and compares the values and all gradients for a random upstream
// gradient.
template <typename Ours, typename Plain>
void compare(std::vector<Tensor> inputs, Ours ours, Plain plain) {
  std::vector<Tensor> a, b;
  for (const Tensor& t : inputs) {
    a.push_back(t.detach().clone().requires_grad_(true));
    b.push_back(t.detach().clone().requires_grad_(true));
  }
  const Tensor ya = ours(a), yb = plain(b);
  expect_close(ya, yb, "value");
  const Tensor upstream = torch::randn_like(yb);
  ya.backward(upstream);
  yb.backward(upstream);
  for (std::size_t i = 0; i < a.size(); ++i) expect_close(a[i].grad(), b[i].grad(), "gradient");
}

TEST(Functions, RmsNorm) {
  torch::manual_seed(1);
  for (std::int64_t h : {1, 31, 32, 77, 576})
    compare(
        {leaf({2, 5, h}), leaf({h})}, [](auto& v) { return rms_norm(v[0], v[1], 1e-5); },
        [](auto& v) { return v[0] * torch::rsqrt(v[0].pow(2).mean(-1, true) + 1e-5) * v[1]; });
}
TEST(Functions, Swiglu) {
  torch::manual_seed(2);
  compare(
      {torch::randn({3, 4, 53}) * 20, leaf({3, 4, 53})}, [](auto& v) { return swiglu(v[0], v[1]); },
      [](auto& v) { return torch::silu(v[0]) * v[1]; });
}
TEST(Functions, Linear) {
  torch::manual_seed(3);
  compare(
      {leaf({2, 5, 33}), leaf({17, 33})},
      [](auto& v) { return linear(v[0], v[1], torch::kFloat32); },
      [](auto& v) { return torch::linear(v[0], v[1]); });
}
TEST(Functions, LinearInBfloat16StaysNearFloat32) {
  torch::manual_seed(4);
  const Tensor x = leaf({4, 64}), w = leaf({32, 64});
  const Tensor y = linear(x, w, torch::kBFloat16);
  EXPECT_EQ(y.scalar_type(), torch::kFloat32);
  // 8 bits of mantissa, 64 terms of size 1: standard error about 64^0.5 * 2^-8, the largest of 128
  // within five of it.
  EXPECT_LT((y - torch::linear(x, w)).abs().max().item<double>(), 5 * 8.0 / 256);
  y.sum().backward();
  EXPECT_EQ(w.grad().scalar_type(), torch::kFloat32);
}
TEST(Functions, RotateTurnsPairsAndItsBackwardTurnsBack) {
  torch::manual_seed(5);
  const Tensor angle = torch::randn({7, 4});
  const Tensor c = angle.cos(), s = angle.sin();
  compare(
      {leaf({2, 7, 3, 8})}, [&](auto& v) { return rotate(v[0], c, s); },
      [&](auto& v) {
        const Tensor a = v[0].narrow(3, 0, 4), b = v[0].narrow(3, 4, 4), cc = c.view({1, 7, 1, 4}),
                     ss = s.view({1, 7, 1, 4});
        return torch::cat({a * cc - b * ss, b * cc + a * ss}, 3);
      });
}
TEST(Functions, RotateLeavesTheRestOfAHeadAlone) {
  torch::manual_seed(6);
  const Tensor angle = torch::randn({7, 3});
  const Tensor c = angle.cos(), s = angle.sin();
  compare(
      {leaf({2, 7, 3, 9})}, [&](auto& v) { return rotate(v[0], c, s); },
      [&](auto& v) {
        const Tensor a = v[0].narrow(3, 0, 3), b = v[0].narrow(3, 3, 3),
                     rest = v[0].narrow(3, 6, 3), cc = c.view({1, 7, 1, 3}),
                     ss = s.view({1, 7, 1, 3});
        return torch::cat({a * cc - b * ss, b * cc + a * ss, rest}, 3);
      });
}
// Odd lengths, several blocks of queries, groups of one and of several heads.
TEST(Functions, CausalAttention) {
  torch::manual_seed(8);
  struct Case {
    std::int64_t b, t, n, k, d;
  };
  for (const Case c : {Case{2, 1, 2, 1, 4}, Case{1, 37, 3, 3, 10}, Case{2, 131, 6, 2, 16},
                       Case{1, 300, 4, 1, 7}, Case{1, 1100, 1, 1, 4}})
    compare(
        {leaf({c.b, c.t, c.n, c.d}) * 2, leaf({c.b, c.t, c.k, c.d}) * 2,
         leaf({c.b, c.t, c.k, c.d})},
        [](auto& v) { return causal_attention(v[0], v[1], v[2]); },
        [&](auto& v) {
          const auto heads = [&](const Tensor& x) {
            return x.repeat_interleave(c.n / c.k, 2).transpose(1, 2);
          };
          const Tensor masked = torch::full({c.t, c.t}, -INFINITY).triu(1);
          const Tensor scores = v[0].transpose(1, 2).matmul(heads(v[1]).transpose(2, 3)) /
                                    std::sqrt(static_cast<double>(c.d)) +
                                masked;
          return torch::softmax(scores, -1).matmul(heads(v[2])).transpose(1, 2);
        });
}
TEST(Functions, EmbedRowsWithRepeatedIds) {
  torch::manual_seed(6);
  const Tensor ids = torch::tensor({{1, 4, 1, 0}, {4, 4, 2, 1}}, torch::kInt64);
  compare(
      {leaf({6, 70})}, [&](auto& v) { return embed_rows(ids, v[0]); },
      [&](auto& v) { return at::embedding(v[0], ids); });
}

// With a gradient in place each weight's backward adds to that very buffer.
TEST(Functions, GradientsAreAddedInPlace) {
  torch::manual_seed(7);
  const Tensor x = leaf({5, 12}), ids = torch::tensor({2, 0, 2, 1, 1}, torch::kInt64);
  const Tensor gain = leaf({12}), w = leaf({9, 12}), table = leaf({3, 9});
  const auto run = [&] {
    return (linear(rms_norm(x, gain, 1e-5), w, torch::kFloat32) * embed_rows(ids, table)).sum();
  };
  run().backward();
  std::vector<Tensor> once;
  for (const Tensor& t : {gain, w, table}) once.push_back(t.grad().clone());
  std::vector<const void*> where;
  for (const Tensor& t : {gain, w, table}) where.push_back(t.grad().data_ptr());
  run().backward();
  std::size_t i = 0;
  for (const Tensor& t : {gain, w, table}) {
    EXPECT_EQ(t.grad().data_ptr(), where[i]);
    expect_close(t.grad(), 2 * once[i], "twice");
    ++i;
  }
}

TEST(VectorMath, ExponentialIsWithinTwoUlp) {
  double worst = 0;
  for (double x = -86.9; x < 88; x += 0.00137) {
    const float f = static_cast<float>(x);
    const double exact = std::exp(static_cast<double>(f));
    worst = std::max(worst, std::abs(fast_exp(f) - exact) / exact);
  }
  EXPECT_LT(worst, 2.4e-7);
  EXPECT_LT(fast_exp(-1000.0f), 2e-38f);
  EXPECT_LT(fast_exp(-INFINITY), 2e-38f);
  EXPECT_GE(fast_exp(-INFINITY), 0.0f);
  EXPECT_EQ(fast_exp(0.0f), 1.0f);
  EXPECT_TRUE(std::isnan(fast_exp(NAN)));
}

}  // namespace
}  // namespace espalier::model
