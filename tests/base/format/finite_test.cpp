// SPDX-License-Identifier: Apache-2.0
// Every format: a value, or a scale, that is not finite is found at its place; finite ones are not.
#include "format/finite.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <vector>

#include "format/blocks/codec.h"
#include "format/grid.h"

namespace espalier::format {
namespace {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN(),
                kInfinity = std::numeric_limits<float>::infinity();

TEST(Finite, FloatFormats) {
  for (const FormatId id : {FormatId::f32, FormatId::f16, FormatId::bf16}) {
    const QuantFormat& f = info(id);
    const std::int64_t n = 5000;  // more than one piece of the search
    std::vector<float> x(static_cast<std::size_t>(n));
    for (std::int64_t i = 0; i < n; ++i) x[i] = static_cast<float>(i % 17 - 8) * 1000.0f;
    x[7] = -info(id).largest;
    std::vector<std::byte> bytes(static_cast<std::size_t>(n * f.block_bytes));
    const auto found = [&] {
      f.encode(x.data(), nullptr, bytes.data(), n);
      return first_not_finite(id, bytes);
    };
    EXPECT_EQ(found(), -1) << f.name;
    x[4999] = kNaN;
    EXPECT_EQ(found(), 4999) << f.name;
    x[4200] = -kInfinity;
    EXPECT_EQ(found(), 4200) << f.name;
    x[0] = kNaN;
    EXPECT_EQ(found(), 0) << f.name;
    EXPECT_EQ(first_not_finite(id, {}), -1);
    for (std::int64_t at = 0; at < 13; ++at)  // any place in a word, and in what no word holds
      for (const float bad : {kNaN, -kNaN, kInfinity, -kInfinity, -info(id).largest}) {
        std::vector<float> few(13, -info(id).largest);
        few[at] = bad;
        f.encode(few.data(), nullptr, bytes.data(), 13);
        EXPECT_EQ(first_not_finite(id, std::span(bytes).first(13 * f.block_bytes)),
                  std::isfinite(bad) ? -1 : at)
            << f.name << bad;
      }
  }
}

TEST(Finite, TheLargestValuesAreStoredAndNoLarger) {
  for (const FormatId id : {FormatId::f16, FormatId::bf16}) {
    const auto stored = [&](float v) {
      std::byte bytes[2];
      float back = 0;
      info(id).encode(&v, nullptr, bytes, 1);
      info(id).decode(bytes, &back, 1);
      return back;
    };
    EXPECT_EQ(stored(info(id).largest), info(id).largest);
    EXPECT_TRUE(std::isinf(stored(1.002f * info(id).largest))) << info(id).name;
  }
}

// Whatever 2 bytes of a block are set to NaN or infinity: values that decode to such are found.
TEST(Finite, ScalesOfBlockFormats) {
  int formats = 0, places = 0;
  for (const QuantFormat& f : all_formats()) {
    if (f.is_float()) continue;
    ++formats;
    const std::int64_t n = 3 * f.block;
    std::vector<float> x(static_cast<std::size_t>(n)), back(x.size());
    for (std::int64_t i = 0; i < n; ++i) x[i] = std::sin(static_cast<float>(i));
    std::vector<std::byte> bytes(static_cast<std::size_t>(3 * f.block_bytes));
    f.encode(x.data(), nullptr, bytes.data(), n);
    EXPECT_EQ(first_not_finite(f.id, bytes), -1) << f.name;
    int found = 0;
    for (std::int64_t at = 0; at + 1 < f.block_bytes; at += 2)
      for (const std::uint16_t bits :
           std::initializer_list<std::uint16_t>{0x7C00, 0xFC00, 0x7E01}) {
        std::vector<std::byte> damaged = bytes;
        std::memcpy(damaged.data() + f.block_bytes + at, &bits, 2);
        f.decode(damaged.data(), back.data(), n);
        bool finite = true;
        for (const float v : back) finite = finite && std::isfinite(v);
        EXPECT_EQ(first_not_finite(f.id, damaged), finite ? -1 : f.block)
            << f.name << " byte " << at;
        found += !finite;
      }
    if (f.grid->scale_bits != scale_bits) {  // no binary16, and no byte above 252 was written
      EXPECT_EQ(found, 0) << f.name;
      continue;
    }
    EXPECT_TRUE(found == 3 || found == 6) << f.name << ": " << found;  // one scale or two
    places += found / 3;
  }
  EXPECT_EQ(formats, 14);
  EXPECT_EQ(places, 13 + 5);  // q4_1, q5_1, q2_k, q4_k and q5_k have a second one
}

// 255 is NaN. A little below it, large levels overflow.
TEST(Finite, ExponentsOfMxfp4) {
  const QuantFormat& f = info(FormatId::mxfp4);
  std::vector<std::byte> bytes(static_cast<std::size_t>(3 * f.block_bytes));
  std::byte* block = bytes.data() + f.block_bytes;
  std::vector<float> back(3 * 32);
  for (int e = 0; e < 256; ++e)
    for (int q = 0; q < 16; ++q) {
      block[0] = static_cast<std::byte>(e);
      block[16] = static_cast<std::byte>(q << 4);  // the last value
      f.decode(bytes.data(), back.data(), 3 * 32);
      EXPECT_EQ(first_not_finite(f.id, bytes), std::isfinite(back[63]) ? -1 : 32) << e << " " << q;
      EXPECT_EQ(std::isnan(back[32]), e == 255);
    }
}

}  // namespace
}  // namespace espalier::format
