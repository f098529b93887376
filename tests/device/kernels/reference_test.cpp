// SPDX-License-Identifier: Apache-2.0
// The definition of correct, checked against decode + dot in double for every format, and the
// formulas of the steps.
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "core/error.h"
#include "core/half.h"
#include "core/rng.h"
#include "kernels/linear.h"

namespace espalier::kernels {
namespace {

std::vector<float> random_values(std::int64_t n, std::uint64_t seed) {
  core::Rng rng(seed, 0);
  std::vector<float> out(static_cast<std::size_t>(n));
  for (float& x : out) x = static_cast<float>(rng.normal());
  return out;
}

TEST(Reference, EveryFormatIsDecodeThenDot) {
  const KernelTable& table = select_isa("reference");
  core::ThreadPool pool(2);
  int formats = 0;
  for (const format::QuantFormat& f : format::all_formats()) {
    SCOPED_TRACE(f.name);
    const std::int64_t rows = 37, cols = f.is_float() ? 515 : 512, n = 3;
    const std::vector<float> weights = random_values(rows * cols, 1),
                             x = random_values(n * cols, 2);
    std::vector<std::byte> bytes(static_cast<std::size_t>(format::matrix_bytes(f.id, rows, cols)));
    f.encode(weights.data(), nullptr, bytes.data(), rows * cols);
    std::vector<float> decoded(weights.size());
    f.decode(bytes.data(), decoded.data(), rows * cols);

    const Matrix w(table, f.id, bytes, rows, cols, pool);
    EXPECT_EQ(w.gguf_bytes(), static_cast<std::int64_t>(bytes.size()));
    EXPECT_TRUE(w.packed().empty());
    Activations in(8, cols);
    in.set(x.data(), n, cols);
    std::vector<float> y(static_cast<std::size_t>(n * rows)), row(static_cast<std::size_t>(cols));
    linear(table, w, in, y.data(), rows, pool);
    for (std::int64_t r = 0; r < rows; ++r) {
      w.decode_row(r, row.data());
      for (std::int64_t c = 0; c < cols; ++c) ASSERT_EQ(row[c], decoded[r * cols + c]);
      for (std::int64_t t = 0; t < n; ++t) {
        double dot = 0, size = 0;
        for (std::int64_t c = 0; c < cols; ++c) {
          const double product =
              static_cast<double>(decoded[r * cols + c]) * static_cast<double>(x[t * cols + c]);
          dot += product;
          size += std::abs(product);
        }
        ASSERT_NEAR(y[t * rows + r], dot, 64 * 0x1p-24 * size) << "row " << r << " token " << t;
      }
    }
    ++formats;
  }
  EXPECT_EQ(formats, 17);
}

TEST(Reference, WrongByteCountIsRefused) {
  core::ThreadPool pool(1);
  const std::vector<std::byte> bytes(100);
  EXPECT_THROW(Matrix(select_isa("reference"), format::FormatId::q8_0, bytes, 3, 32, pool),
               core::Error);
  EXPECT_THROW(Matrix(select_isa("reference"), format::FormatId::q4_k, bytes, 1, 32, pool),
               core::Error);
}

TEST(SelectIsa, ReferenceIsFirstAndUnknownNamesAreRefused) {
  EXPECT_EQ(isa_names().front(), "reference");
  EXPECT_TRUE(isa_runnable("reference"));
  EXPECT_FALSE(isa_runnable("pdp11"));
  try {
    select_isa("pdp11");
    FAIL();
  } catch (const core::Error& e) {
    EXPECT_EQ(e.kind(), core::ErrorKind::usage);
    EXPECT_NE(std::string(e.what()).find("reference"), std::string::npos);
  }
}

TEST(SelectIsa, AForcedOneIsTheOneThatRuns) {
  for (std::string_view name : isa_names()) {
    if (isa_runnable(name)) {
      EXPECT_EQ(isa_name(select_isa(name)), name);
      ASSERT_EQ(setenv("ESPALIER_ISA", std::string(name).c_str(), 1), 0);
      EXPECT_EQ(isa_name(select_isa()), name);
      ASSERT_EQ(unsetenv("ESPALIER_ISA"), 0);
    } else {
      try {
        select_isa(name);
        FAIL() << name;
      } catch (const core::Error& e) {
        EXPECT_EQ(e.kind(), core::ErrorKind::unsupported);
      }
    }
  }
}

}  // namespace
}  // namespace espalier::kernels
