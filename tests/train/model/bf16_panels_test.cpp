// SPDX-License-Identifier: Apache-2.0
// Products of rounded matrices against float64 products of the same values: every edge of the
// tiles, both layouts, both sets of instructions, and any number of threads.
#include "model/ops/cpu/bf16_panels.h"

#include <ATen/Parallel.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include <iostream>
#include <limits>
#include <vector>

namespace espalier::model::cpu {
namespace {

using torch::Tensor;

// [n, k] with contiguous rows, or with contiguous columns.
Tensor matrix(std::int64_t n, std::int64_t k, bool by_rows) {
  return by_rows ? torch::randn({n, k}) : torch::randn({k, n}).t();
}
Tensor exact(const Tensor& a, const Tensor& b) {
  return a.to(torch::kBFloat16)
      .to(torch::kFloat64)
      .matmul(b.to(torch::kBFloat16).to(torch::kFloat64).t());
}
double difference(const Tensor& a, const Tensor& b) {
  return (a.to(torch::kFloat64) - b).abs().max().item<double>();
}

// Every test returns at once where the processor does not multiply bfloat16.
bool nothing_to_test() {
  torch::manual_seed(1);
  if (!has_bf16_products()) std::cout << "this processor does not multiply bfloat16\n";
  return !has_bf16_products();
}

TEST(Bf16Panels, ProductsAreThoseOfTheRoundedValues) {
  if (nothing_to_test()) return;
  for (const std::int64_t m : {1, 15, 32, 33, 300})
    for (const std::int64_t n : {1, 16, 17, 48, 100})
      for (const std::int64_t k : {1, 2, 31, 32, 33, 577})
        for (const bool left_rows : {true, false})
          for (const bool right_rows : {true, false}) {
            const Tensor a = matrix(m, k, left_rows), b = matrix(n, k, right_rows);
            const Panels left(a, Panels::Side::left), right(b, Panels::Side::right);
            for (const auto how : {Bf16Instructions::fastest, Bf16Instructions::avx512_bf16})
              EXPECT_LT(difference(product(left, right, how), exact(a, b)),
                        2e-6 * static_cast<double>(k) + 1e-6)
                  << m << " x " << n << " of " << k << " values";
          }
}

TEST(Bf16Panels, ASymmetricProductIsTheWholeOne) {
  if (nothing_to_test()) return;
  for (const std::int64_t n : {1, 40, 257, 600}) {
    const Tensor a = torch::randn({130, n}).t();
    const Panels left(a, Panels::Side::left), right(a, Panels::Side::right);
    const Tensor half = symmetric_product(left, right);
    EXPECT_TRUE(torch::equal(half, half.t()));
    EXPECT_TRUE(torch::equal(half, product(left, right)));
  }
}

TEST(Bf16Panels, ThreadsChangeNothing) {
  if (nothing_to_test()) return;
  const Tensor a = torch::randn({500, 333}).t(), b = torch::randn({500, 700}).t();
  const int before = at::get_num_threads();
  std::vector<Tensor> results;
  for (const int threads : {1, 2, 4}) {
    at::set_num_threads(threads);
    results.push_back(product(Panels(a, Panels::Side::left), Panels(b, Panels::Side::right)));
  }
  at::set_num_threads(before);
  EXPECT_TRUE(torch::equal(results[0], results[1]));
  EXPECT_TRUE(torch::equal(results[0], results[2]));
}

TEST(Bf16Panels, WhatIsNotFiniteStaysSo) {
  if (nothing_to_test()) return;
  Tensor a = torch::ones({3, 40});
  a[1][5] = std::numeric_limits<float>::infinity();
  a[2][39] = std::numeric_limits<float>::quiet_NaN();
  const Tensor out =
      product(Panels(a, Panels::Side::left), Panels(torch::ones({2, 40}), Panels::Side::right));
  EXPECT_EQ(out[0][0].item<float>(), 40);
  EXPECT_TRUE(std::isinf(out[1][1].item<float>()));
  EXPECT_TRUE(std::isnan(out[2][0].item<float>()));
}

}  // namespace
}  // namespace espalier::model::cpu
