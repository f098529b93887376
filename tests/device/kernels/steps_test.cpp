// SPDX-License-Identifier: Apache-2.0
// The steps of every ISA against formulas in double, on lengths around the vector sizes, between
// NaNs.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "core/half.h"
#include "core/rng.h"
#include "kernels/kernel_tables.h"

namespace espalier::kernels {
namespace {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr double kEps = 0x1p-24;

// n values at an odd address in the middle of NaNs, which must neither be read nor written.
class Poisoned {
 public:
  explicit Poisoned(std::int64_t n, std::uint64_t seed = 0, double scale = 1)
      : n_(n), values_(static_cast<std::size_t>(n) + 66, kNaN) {
    core::Rng rng(seed, 1);
    for (std::int64_t i = 0; i < n; ++i) data()[i] = static_cast<float>(rng.normal() * scale);
  }
  float* data() { return values_.data() + 33; }
  float operator[](std::int64_t i) const { return values_[static_cast<std::size_t>(33 + i)]; }
  void expect_untouched_around() const {
    for (std::size_t i = 0; i < values_.size(); ++i)
      if (i < 33 || i >= static_cast<std::size_t>(33 + n_)) {
        ASSERT_TRUE(std::isnan(values_[i])) << "written at " << i << " of " << n_;
      }
  }

 private:
  std::int64_t n_;
  std::vector<float> values_;
};

class Steps : public testing::TestWithParam<NamedTable> {
 protected:
  const StepKernels& steps() const { return GetParam().table->steps; }
};

const std::int64_t kLengths[] = {1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 40, 64, 100, 576};

TEST_P(Steps, RmsNorm) {
  for (std::int64_t n : kLengths) {
    Poisoned x(n, 1), gain(n, 2), out(n, 3);
    steps().rms_norm(x.data(), gain.data(), 1e-5f, n, out.data());
    double sum = 0;
    for (std::int64_t i = 0; i < n; ++i) sum += static_cast<double>(x[i]) * x[i];
    for (std::int64_t i = 0; i < n; ++i) {
      const double expected = x[i] / std::sqrt(sum / static_cast<double>(n) + 1e-5) * gain[i];
      ASSERT_NEAR(out[i], expected, (8 + std::sqrt(n)) * kEps * std::abs(expected)) << n;
    }
    out.expect_untouched_around();
  }
}

// A mean many times the deviation: a variance taken as mean(x^2) - mean(x)^2 would lose it.
TEST_P(Steps, LayerNorm) {
  for (std::int64_t n : kLengths)
    for (const float offset : {0.0f, 100.0f}) {
      Poisoned x(n, 1), gain(n, 2), bias(n, 4), out(n, 3);
      for (std::int64_t i = 0; i < n; ++i) x.data()[i] += offset;
      steps().layer_norm(x.data(), gain.data(), bias.data(), 1e-5f, n, out.data());
      double sum = 0, squares = 0;
      for (std::int64_t i = 0; i < n; ++i) sum += x[i];
      const double mean = sum / static_cast<double>(n);
      for (std::int64_t i = 0; i < n; ++i) squares += (x[i] - mean) * (x[i] - mean);
      const double deviation = std::sqrt(squares / static_cast<double>(n) + 1e-5);
      for (std::int64_t i = 0; i < n; ++i) {
        const double expected = (x[i] - mean) / deviation * gain[i] + bias[i];
        // The mean's rounding, in units of the deviation, and a few roundings of the result.
        const double mean_error =
            (2 + std::sqrt(n)) * kEps * (std::abs(mean) + 1) / deviation * std::abs(gain[i]);
        ASSERT_NEAR(
            out[i], expected,
            mean_error + (12 + std::sqrt(n)) * kEps * (std::abs(expected) + std::abs(bias[i])))
            << n << " " << offset;
      }
      out.expect_untouched_around();
    }
}

TEST_P(Steps, GeluAndReluSquaredInPlace) {
  for (std::int64_t n : kLengths) {
    Poisoned x(n, 1, 6), factor(n, 2), product(n, 3), y(n, 4, 3);
    const Poisoned before = x, y_before = y;
    for (std::int64_t i = 0; i < n; ++i) factor.data()[i] = 1;
    steps().gelu_mul(x.data(), factor.data(), n, product.data());
    steps().gelu(n, x.data());
    for (std::int64_t i = 0; i < n; ++i) ASSERT_EQ(x[i], product[i]) << before[i];
    x.expect_untouched_around();
    steps().relu_squared(n, y.data());
    for (std::int64_t i = 0; i < n; ++i)
      ASSERT_EQ(y[i], y_before[i] > 0 ? y_before[i] * y_before[i] : 0.0f);
    y.expect_untouched_around();
  }
  float bad[] = {kNaN, -std::numeric_limits<float>::infinity(), -0.0f};
  steps().relu_squared(3, bad);
  EXPECT_TRUE(std::isnan(bad[0]));
  EXPECT_EQ(bad[1], 0.0f);
  EXPECT_EQ(bad[2], 0.0f);
}

TEST_P(Steps, Rope) {
  for (std::int64_t n : {2, 4, 6, 8, 14, 16, 18, 32, 34, 64, 128}) {
    Poisoned x(n, 1), c(n / 2), s(n / 2);
    std::vector<double> expected(static_cast<std::size_t>(n));
    for (std::int64_t i = 0; i < n / 2; ++i) {
      const double angle = 0.37 * static_cast<double>(i + 1);
      c.data()[i] = static_cast<float>(std::cos(angle));
      s.data()[i] = static_cast<float>(std::sin(angle));
      const double a = x[2 * i], b = x[2 * i + 1];
      expected[2 * i] = a * c[i] - b * s[i];
      expected[2 * i + 1] = a * s[i] + b * c[i];
    }
    steps().rope_interleaved(x.data(), c.data(), s.data(), n);
    for (std::int64_t i = 0; i < n; ++i)
      ASSERT_NEAR(x[i], expected[i], 4 * kEps * 4) << n << " " << i;
    x.expect_untouched_around();
  }
}

TEST_P(Steps, RopeOfHalves) {
  for (std::int64_t n : {2, 4, 6, 8, 14, 16, 18, 32, 34, 64, 128}) {
    Poisoned x(n, 1), c(n / 2), s(n / 2);
    std::vector<double> expected(static_cast<std::size_t>(n));
    for (std::int64_t i = 0; i < n / 2; ++i) {
      const double angle = 0.37 * static_cast<double>(i + 1);
      c.data()[i] = static_cast<float>(std::cos(angle));
      s.data()[i] = static_cast<float>(std::sin(angle));
      const double a = x[i], b = x[i + n / 2];
      expected[i] = a * c[i] - b * s[i];
      expected[i + n / 2] = a * s[i] + b * c[i];
    }
    steps().rope_half_split(x.data(), c.data(), s.data(), n);
    for (std::int64_t i = 0; i < n; ++i)
      ASSERT_NEAR(x[i], expected[i], 4 * kEps * 4) << n << " " << i;
    x.expect_untouched_around();
  }
}

TEST_P(Steps, GeluMulAndSoftCap) {
  for (std::int64_t n : kLengths) {
    Poisoned gate(n, 1, 6), up(n, 2), out(n, 3);
    steps().gelu_mul(gate.data(), up.data(), n, out.data());
    for (std::int64_t i = 0; i < n; ++i) {
      const double g = gate[i], expected = 0.5 * g *
                                           (1 + std::tanh(std::sqrt(2 / 3.14159265358979) *
                                                          (g + 0.044715 * g * g * g))) *
                                           up[i];
      // 1 + tanh cancels for negative g: an absolute error of a few eps of g * up.
      ASSERT_NEAR(out[i], expected,
                  1e-6 * std::abs(expected) + 8 * kEps * std::abs(g * static_cast<double>(up[i])))
          << g;
    }
    out.expect_untouched_around();
    Poisoned x(n, 4, 40);
    const Poisoned before = x;
    steps().soft_cap(x.data(), 0.5f, 7, n);
    for (std::int64_t i = 0; i < n; ++i)
      ASSERT_NEAR(x[i], 7 * std::tanh(0.5 * before[i] / 7), 7 * 8 * kEps) << before[i];
    x.expect_untouched_around();
  }
}

TEST_P(Steps, SiluMulWithinAMillionth) {
  for (std::int64_t n : kLengths) {
    Poisoned gate(n, 1, 8), up(n, 2), out(n, 3);
    steps().silu_mul(gate.data(), up.data(), n, out.data());
    for (std::int64_t i = 0; i < n; ++i) {
      const double expected = gate[i] / (1 + std::exp(-static_cast<double>(gate[i]))) * up[i];
      ASSERT_NEAR(out[i], expected, 1e-6 * std::abs(expected)) << gate[i];
    }
    out.expect_untouched_around();
  }
}

TEST_P(Steps, SiluOverItsWholeRange) {
  std::vector<float> gate, up;
  for (float g = -120; g <= 120; g += 0.013f) gate.push_back(g);
  up.assign(gate.size(), 1.0f);
  std::vector<float> out(gate.size());
  steps().silu_mul(gate.data(), up.data(), static_cast<std::int64_t>(gate.size()), out.data());
  for (std::size_t i = 0; i < gate.size(); ++i) {
    const double expected = gate[i] / (1 + std::exp(-static_cast<double>(gate[i])));
    ASSERT_NEAR(out[i], expected, 1e-6 * std::abs(expected) + 1e-35)
        << gate[i];  // below -85: smaller than 1e-35
  }
  float bad[] = {kNaN, std::numeric_limits<float>::infinity(),
                 -std::numeric_limits<float>::infinity()};
  const float one[] = {1, 1, 1};
  float result[3];
  steps().silu_mul(bad, one, 3, result);
  EXPECT_TRUE(std::isnan(result[0]));
  EXPECT_TRUE(std::isinf(result[1]));
}

TEST_P(Steps, Add) {
  for (std::int64_t n : kLengths) {
    Poisoned x(n, 1), y(n, 2);
    const Poisoned before = y;
    steps().add(x.data(), n, y.data());
    for (std::int64_t i = 0; i < n; ++i) ASSERT_EQ(y[i], x[i] + before[i]);
    y.expect_untouched_around();
  }
}

// ---- keys and values
struct KvType {
  KvFormat format;
  format::FormatId stored;
};
constexpr KvType kKvTypes[] = {{kv_f32, format::FormatId::f32},
                               {kv_f16, format::FormatId::f16},
                               {kv_q8_0, format::FormatId::q8_0},
                               {kv_q4_0, format::FormatId::q4_0}};
static_assert(std::size(kKvTypes) == kKvFormats);

std::int64_t row_bytes(KvType type, std::int64_t n) {
  return format::matrix_bytes(type.stored, 1, n);
}
std::vector<float> decoded(KvType type, const std::byte* row, std::int64_t n) {
  std::vector<float> out(static_cast<std::size_t>(n));
  format::info(type.stored).decode(row, out.data(), n);
  return out;
}

TEST_P(Steps, StoresKeysAndValues) {
  const StepKernels& reference = kernels::steps(select_isa("reference"));
  for (const KvType type : kKvTypes) {
    const std::int64_t block = format::info(type.stored).block;
    for (std::int64_t n : {std::int64_t{1}, std::int64_t{7}, std::int64_t{31}, std::int64_t{32},
                           std::int64_t{96}, std::int64_t{128}}) {
      if (n % block != 0) continue;
      Poisoned x(n, 5);
      if (n == 96) std::fill(x.data(), x.data() + 32, 0.0f);
      std::vector<std::byte> out(static_cast<std::size_t>(row_bytes(type, n)) + 1, std::byte{0xAB}),
          expected = out;
      steps().kv[type.format].store(x.data(), n, out.data());
      reference.kv[type.format].store(x.data(), n, expected.data());
      EXPECT_EQ(out, expected) << n;  // to the bit, and nothing behind
      EXPECT_EQ(out.back(), std::byte{0xAB});
      const std::vector<float> back = decoded(type, out.data(), n);
      for (std::int64_t i = 0; i < n; ++i) {
        float most = 0;
        for (std::int64_t j = i / block * block; j < std::min(n, i / block * block + block); ++j)
          most = std::max(most, std::abs(x[j]));
        // Half a step of the block, and the 2^-11 that the F16 scale (or value) is off; 4 bits have
        // no level 8, opposite the extreme.
        const double step = type.format == kv_q8_0   ? most / 127.0
                            : type.format == kv_q4_0 ? most / 8.0
                                                     : 0;
        const double bound =
            (type.format == kv_q4_0 ? 1.0 : 0.5) * step + (type.format == kv_f32 ? 0 : most / 2048);
        ASSERT_NEAR(back[static_cast<std::size_t>(i)], x[i], bound * 1.001) << n << " " << i;
      }
    }
    std::vector<float> bad(32, 1.0f);
    bad[5] = kNaN;
    std::vector<std::byte> out(static_cast<std::size_t>(row_bytes(type, 32)));
    steps().kv[type.format].store(bad.data(), 32, out.data());
    EXPECT_TRUE(std::isnan(decoded(type, out.data(), 32)[5]));
  }
}

struct AttentionCase {
  std::int64_t head_dim, n_queries, positions;
  float cap = 0;
};

// visible[j] runs from (sometimes) 0 up to all positions. Bytes of K and V that no visible position
// has would be NaN as numbers.
void check_attention(const StepKernels& steps, KvType type, const AttentionCase& c) {
  SCOPED_TRACE("type " + std::to_string(type.format) + " head_dim " + std::to_string(c.head_dim) +
               " queries " + std::to_string(c.n_queries) + " positions " +
               std::to_string(c.positions));
  const std::int64_t ldq = c.head_dim + 3, ldo = c.head_dim + 5,
                     stride = 2 * row_bytes(type, c.head_dim) + 4;
  Poisoned q(c.n_queries * ldq, 1), out(c.n_queries * ldo, 2);
  const Poisoned out_before = out;
  std::vector<std::byte> k(static_cast<std::size_t>((c.positions + 20) * stride), std::byte{0xFF}),
      v = k;
  std::vector<std::vector<float>> keys, values;
  core::Rng rng(3, 0);
  for (std::int64_t p = 0; p < c.positions; ++p)
    for (const auto& [bytes, numbers] : {std::pair{&k, &keys}, std::pair{&v, &values}}) {
      std::vector<float> row(static_cast<std::size_t>(c.head_dim));
      for (float& x : row) x = static_cast<float>(rng.normal());
      steps.kv[type.format].store(row.data(), c.head_dim, bytes->data() + p * stride);
      numbers->push_back(decoded(type, bytes->data() + p * stride, c.head_dim));
    }
  std::vector<std::int64_t> visible(static_cast<std::size_t>(c.n_queries));
  for (std::int64_t j = 0; j < c.n_queries; ++j) visible[j] = c.positions * (j + 1) / c.n_queries;
  Poisoned scores(c.n_queries * c.positions, 4);
  const float scale = 1.0f / std::sqrt(static_cast<float>(c.head_dim));
  steps.kv[type.format].attention(
      {.q = q.data(),
       .ldq = ldq,
       .n = c.n_queries,
       .visible = visible.data(),
       .scale = scale,
       .cap = c.cap,
       .scores = scores.data(),
       .out = out.data(),
       .ldo = ldo},
      {.k = k.data(), .v = v.data(), .stride = stride, .head_dim = c.head_dim});
  scores.expect_untouched_around();
  out.expect_untouched_around();
  for (std::int64_t j = 0; j < c.n_queries; ++j) {
    std::vector<double> weight(static_cast<std::size_t>(visible[j]));
    double most = -1e300, sum = 0, size = 0;
    for (std::int64_t p = 0; p < visible[j]; ++p) {
      double dot = 0, terms = 0;
      for (std::int64_t d = 0; d < c.head_dim; ++d) {
        dot += q[j * ldq + d] * keys[p][d];
        terms += std::abs(q[j * ldq + d] * keys[p][d]);
      }
      weight[p] = c.cap > 0 ? c.cap * std::tanh(dot * scale / c.cap) : dot * scale;
      most = std::max(most, weight[p]);
      size = std::max(size, terms * scale);
    }
    for (double& w : weight) sum += w = std::exp(w - most);
    for (std::int64_t d = 0; d < c.head_dim; ++d) {
      double expected = 0, terms = 0;
      for (std::int64_t p = 0; p < visible[j]; ++p) {
        expected += weight[p] / sum * values[p][d];
        terms += std::abs(weight[p] / sum * values[p][d]);
      }
      // An error of the exponent of size * eps * few is a relative error of the weight; plus the
      // exponential's own and the sums'.
      ASSERT_NEAR(out[j * ldo + d], expected, (16 * size * kEps + 1e-6 + 64 * kEps) * terms + 1e-30)
          << "query " << j << " dim " << d;
    }
    for (std::int64_t d = c.head_dim; d < ldo; ++d)
      ASSERT_EQ(out[j * ldo + d], out_before[j * ldo + d]);
  }
}

TEST_P(Steps, Attention) {
  int cases = 0;
  for (std::int64_t head_dim : {8, 20, 64, 80, 96, 128, 136, 256})
    for (std::int64_t n_queries : {1, 3, 7, 16})
      for (std::int64_t positions : {0, 1, 2, 5, 15, 16, 17, 33, 70}) {
        for (const KvType type : kKvTypes)
          if (head_dim % format::info(type.stored).block == 0)
            check_attention(steps(), type,
                            {head_dim, n_queries, positions, positions % 2 ? 0.0f : 1.5f});
        if (HasFatalFailure()) return;
        ++cases;
      }
  EXPECT_EQ(cases, 8 * 4 * 9);
}

TEST_P(Steps, AttentionWithLargeScoresStaysFinite) {
  const std::int64_t head_dim = 16, positions = 20;
  std::vector<float> q(head_dim, 50.0f), k(head_dim * positions), v(head_dim * positions),
      out(head_dim), scores(positions);
  for (std::int64_t p = 0; p < positions; ++p)
    for (std::int64_t d = 0; d < head_dim; ++d) {
      k[p * head_dim + d] = static_cast<float>(p) - 10;
      v[p * head_dim + d] = static_cast<float>(p);
    }
  steps().kv[kv_f32].attention(
      {.q = q.data(),
       .ldq = head_dim,
       .n = 1,
       .visible = &positions,
       .scale = 1.0f,
       .cap = 0,
       .scores = scores.data(),
       .out = out.data(),
       .ldo = head_dim},
      {.k = k.data(), .v = v.data(), .stride = 4 * head_dim, .head_dim = head_dim});
  for (float x : out) EXPECT_EQ(x, 19.0f);  // the last position takes all
}

std::vector<NamedTable> all_tables() {
  std::vector<NamedTable> all = tables_under_test();
  all.insert(all.begin(), {"reference", &select_isa("reference")});
  return all;
}
INSTANTIATE_TEST_SUITE_P(Kernels, Steps, testing::ValuesIn(all_tables()),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace espalier::kernels
