// SPDX-License-Identifier: Apache-2.0
// The ridge that held-out windows choose is the one that brute force finds: fits by stacked rows,
// and errors token by token. Singular equations have finite solutions.
#include "layerwise/held_out.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <vector>

namespace espalier::layerwise {
namespace {

using torch::Tensor;

// Windows of a linear map with noise. `shift` turns the map of the held-out windows.
struct Problem {
  std::int64_t windows = 16, tokens = 8, n = 12, m = 5;
  double noise = 0, prior_noise = 0, shift = 0;
  Tensor inputs, aim, prior;

  Problem(double with_noise, double with_prior_noise, double with_shift)
      : noise(with_noise), prior_noise(with_prior_noise), shift(with_shift) {
    torch::manual_seed(3);
    const Tensor w = torch::randn({m, n}), turned = w + shift * torch::randn({m, n});
    inputs = torch::randn({windows, tokens, n}) * torch::logspace(-1, 1, n);
    aim = torch::empty({windows, tokens, m});
    for (std::int64_t i = 0; i < windows; ++i)
      aim[i] = inputs[i].matmul((i < seen() ? w : turned).t());
    aim += noise * torch::randn_like(aim);
    prior = w + prior_noise * torch::randn({m, n});
  }
  std::int64_t seen() const { return windows - held_out_windows(windows); }
  SplitEquations equations() const {
    SplitEquations out;
    constexpr std::int64_t kBatch = 3;  // one batch has windows of both parts
    for (std::int64_t b = 0; b < windows; b += kBatch) {
      const std::int64_t count = std::min(kBatch, windows - b);
      out.add(inputs.narrow(0, b, count), aim.narrow(0, b, count), seen() - b);
    }
    return out;
  }
  // By QR of the tokens stacked on sqrt(lambda) I.
  Tensor fit(double ridge) const {
    const Tensor a = inputs.narrow(0, 0, seen()).reshape({-1, n}).to(torch::kFloat64),
                 t = aim.narrow(0, 0, seen()).reshape({-1, m}).to(torch::kFloat64);
    const Tensor root = (ridge * a.square().sum(0).mean()).sqrt();
    const auto [q, r] =
        torch::linalg_qr(torch::cat({a, root * torch::eye(n, torch::kFloat64)}), "reduced");
    const Tensor right = torch::cat({t, root * prior.to(torch::kFloat64).t()});
    return torch::linalg_solve_triangular(r, q.t().matmul(right), /*upper=*/true).t();
  }
  double held_out_error(const Tensor& w) const {
    const std::int64_t first = seen();
    return (aim.narrow(0, first, windows - first) -
            inputs.narrow(0, first, windows - first).matmul(w.to(torch::kFloat32).t()))
        .to(torch::kFloat64)
        .square()
        .sum()
        .item<double>();
  }
  double brute_force() const {
    std::vector<double> errors;
    for (const double ridge : ridges()) errors.push_back(held_out_error(fit(ridge)));
    const double least = *std::min_element(errors.begin(), errors.end());
    const double allowed = least + kTolerance * (held_out_error(prior) - least);
    std::size_t best = errors.size() - 1;
    while (errors[best] > allowed && errors[best] != least) --best;
    return ridges()[best];
  }
};

TEST(HeldOut, AnEighthOfTheWindows) {
  EXPECT_EQ(held_out_windows(1), 0);
  EXPECT_EQ(held_out_windows(2), 1);
  EXPECT_EQ(held_out_windows(15), 1);
  EXPECT_EQ(held_out_windows(128), 16);
}

TEST(HeldOut, TheSumsAreThoseOfAllWindows) {
  const Problem p(1, 1, 0);
  const SplitEquations split = p.equations();
  NormalEquations whole;
  whole.add(p.inputs, p.aim);
  ASSERT_TRUE(split.splits());
  EXPECT_EQ(split.all().tokens, p.windows * p.tokens);
  EXPECT_EQ(split.held_out.tokens, 2 * p.tokens);
  EXPECT_TRUE(torch::allclose(split.all().gram, whole.gram, 1e-5));
  EXPECT_TRUE(torch::allclose(split.all().cross, whole.cross, 1e-5, 1e-4));
  const Tensor some = torch::tensor({1, 4, 7});
  EXPECT_TRUE(torch::equal(split.of(some).held_out.gram, split.held_out.of(some).gram));
  NormalEquations held;
  held.add(p.inputs.narrow(0, 14, 2), p.aim.narrow(0, 14, 2));
  const double constant = p.aim.narrow(0, 14, 2).to(torch::kFloat64).square().sum().item<double>();
  EXPECT_NEAR(output_error(held, p.prior) + constant, p.held_out_error(p.prior), 1e-3 * constant);
}

TEST(HeldOut, TheChoiceIsThatOfBruteForce) {
  std::set<double> chosen;
  int cases = 0;
  for (const double noise : {0.01, 1.0, 4.0, 16.0})
    for (const double prior_noise : {0.02, 0.1, 0.5, 2.0})
      for (const double shift : {0.0, 0.2}) {
        const Problem p(noise, prior_noise, shift);
        const double ridge = choose_ridge(p.equations(), p.prior);
        EXPECT_EQ(ridge, p.brute_force()) << noise << " " << prior_noise << " " << shift;
        chosen.insert(ridge);
        ++cases;
      }
  EXPECT_EQ(cases, 32);
  EXPECT_GE(chosen.size(), 5u);  // the cases are not all alike
}

TEST(HeldOut, SingularEquationsHaveFiniteSolutions) {
  torch::manual_seed(4);
  Tensor inputs = torch::randn({8, 4, 10});
  inputs.select(-1, 3).copy_(inputs.select(-1, 2));  // one channel twice
  inputs.select(-1, 5).zero_();
  const Tensor aim = torch::randn({8, 4, 3}), prior = torch::randn({3, 10});
  SplitEquations equations;
  equations.add(inputs, aim, 7);
  for (const double ridge : {0.0, 1e-12, 0.1}) {
    const Tensor w = equations.all().solve(prior, ridge);
    EXPECT_TRUE(torch::isfinite(w).all().item<bool>()) << ridge;
    EXPECT_LE(output_error(equations.all(), w), output_error(equations.all(), prior)) << ridge;
  }
  EXPECT_TRUE(std::isfinite(choose_ridge(equations, prior)));
  // Nothing is known: the weights stay.
  SplitEquations silent;
  silent.add(torch::zeros({8, 4, 10}), aim, 7);
  const Tensor same = silent.all().solve(prior, choose_ridge(silent, prior));
  EXPECT_TRUE(torch::allclose(same.to(torch::kFloat32), prior));
}

}  // namespace
}  // namespace espalier::layerwise
