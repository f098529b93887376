// SPDX-License-Identifier: Apache-2.0
// Block formats: layouts and numbers, decoding and encoding against golden values, searched
// encodings, and odd inputs.
#include "format/quant_format.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <set>

#include "core/error.h"
#include "core/half.h"
#include "core/rng.h"
#include "format/blocks/blocks.h"
#include "format/golden.h"

namespace espalier::format {
namespace {

constexpr int kFormats = 17;

std::vector<std::byte> encode(const QuantFormat& format, const std::vector<float>& x,
                              const float* importance = nullptr) {
  std::vector<std::byte> bytes(x.size() / static_cast<std::size_t>(format.block) *
                               static_cast<std::size_t>(format.block_bytes));
  format.encode(x.data(), importance, bytes.data(), static_cast<std::int64_t>(x.size()));
  return bytes;
}
std::vector<float> decode(const QuantFormat& format, const std::vector<std::byte>& bytes) {
  std::vector<float> x(bytes.size() / static_cast<std::size_t>(format.block_bytes) *
                       static_cast<std::size_t>(format.block));
  format.decode(bytes.data(), x.data(), static_cast<std::int64_t>(x.size()));
  return x;
}
double squared_error(const std::vector<float>& x, const std::vector<float>& y,
                     const float* weight = nullptr) {
  double sum = 0;
  for (std::size_t i = 0; i < x.size(); ++i)
    sum += (weight ? double(weight[i]) : 1.0) * (double(x[i]) - y[i]) * (double(x[i]) - y[i]);
  return sum;
}
double relative_rmse(const std::vector<float>& x, const std::vector<float>& y) {
  return std::sqrt(squared_error(x, y) / squared_error(x, std::vector<float>(x.size())));
}
// The largest relative error of one value. Two levels of FP4 lie a third apart, and its scales a
// factor of two.
float coarseness(std::string_view name) { return name == "mxfp4" ? 0.2f : 0.04f; }

// Relative RMS error of normal values by bits per weight: about what the levels allow, with a
// margin of a tenth.
double expected_error(std::string_view name) {
  if (name == "f32") return 0;
  if (name == "f16") return 0.0003;
  if (name == "bf16") return 0.0019;
  if (name == "q8_0") return 0.006;
  if (name == "q6_k") return 0.019;
  if (name == "q5_k") return 0.039;
  if (name == "q5_1") return 0.042;
  if (name == "q5_0") return 0.048;
  if (name == "q4_k") return 0.079;
  if (name == "q4_1") return 0.087;
  if (name == "q4_0") return 0.096;
  if (name == "iq4_nl") return 0.082;
  if (name == "iq4_xs") return 0.083;
  if (name == "mxfp4") return 0.124;
  if (name == "q3_k") return 0.17;
  if (name == "q2_k") return 0.33;
  if (name == "q2_0") return 0.385;
  throw std::runtime_error("a format without an expected error");
}
std::vector<float> normal_values(std::size_t n, std::uint64_t seed, float scale = 1.0f) {
  core::Rng rng(seed);
  std::vector<float> x(n);
  for (float& v : x) v = scale * static_cast<float>(rng.normal());
  return x;
}
bool same_bits(float a, float b) {
  return std::bit_cast<std::uint32_t>(a) == std::bit_cast<std::uint32_t>(b);
}

TEST(Formats, TheListIsComplete) {
  ASSERT_EQ(all_formats().size(), kFormats);
  EXPECT_EQ(golden_blocks()["formats"].size(), kFormats);
  int line = 0;
#define ESP_FORMAT(format, number)                          \
  EXPECT_EQ(info(FormatId::format).gguf_type, number);      \
  EXPECT_EQ(info(FormatId::format).id, FormatId::format);   \
  EXPECT_EQ(info(FormatId::format).name, #format);          \
  EXPECT_EQ(format_by_gguf_type(number), FormatId::format); \
  EXPECT_EQ(format_by_name(#format), FormatId::format);     \
  ++line;
#include "format/formats.inc"
#undef ESP_FORMAT
  EXPECT_EQ(line, kFormats);
  std::set<std::uint32_t> types;
  for (const QuantFormat& format : all_formats()) types.insert(format.gguf_type);
  EXPECT_EQ(types.size(), kFormats);
  EXPECT_EQ(format_by_name("Q4_K"), FormatId::q4_k);
  EXPECT_FALSE(format_by_name("q4").has_value());
  EXPECT_FALSE(format_by_name("q4_kk").has_value());
  EXPECT_FALSE(format_by_gguf_type(4).has_value());
}

TEST(Formats, BitsPerWeight) {
  EXPECT_DOUBLE_EQ(info(FormatId::q2_0).bits_per_weight(), 2.25);
  EXPECT_DOUBLE_EQ(info(FormatId::q2_k).bits_per_weight(), 2.625);
  EXPECT_DOUBLE_EQ(info(FormatId::q3_k).bits_per_weight(), 3.4375);
  EXPECT_DOUBLE_EQ(info(FormatId::iq4_nl).bits_per_weight(), 4.5);
  EXPECT_DOUBLE_EQ(info(FormatId::iq4_xs).bits_per_weight(), 4.25);
  EXPECT_DOUBLE_EQ(info(FormatId::mxfp4).bits_per_weight(), 4.25);
  EXPECT_DOUBLE_EQ(info(FormatId::q4_0).bits_per_weight(), 4.5);
  EXPECT_DOUBLE_EQ(info(FormatId::q4_k).bits_per_weight(), 4.5);
  EXPECT_DOUBLE_EQ(info(FormatId::q6_k).bits_per_weight(), 6.5625);
  EXPECT_DOUBLE_EQ(info(FormatId::q8_0).bits_per_weight(), 8.5);
  EXPECT_TRUE(info(FormatId::bf16).is_float());
  EXPECT_FALSE(info(FormatId::q8_0).is_float());
}

TEST(MatrixBytes, WholeBlocksOnly) {
  EXPECT_EQ(matrix_bytes(FormatId::q4_k, 3, 512), 3 * 2 * 144);
  EXPECT_EQ(matrix_bytes(FormatId::f32, 2, 5), 40);
  const auto message = [](FormatId id, std::int64_t cols) -> std::string {
    try {
      matrix_bytes(id, 1, cols);
    } catch (const core::Error& e) {
      EXPECT_EQ(e.kind(), core::ErrorKind::unsupported);
      return e.what();
    }
    return "accepted";
  };
  EXPECT_NE(message(FormatId::q4_k, 576).find("nearest legal row length is 512"), std::string::npos)
      << message(FormatId::q4_k, 576);
  EXPECT_NE(message(FormatId::q4_k, 100).find("nearest legal row length is 256"),
            std::string::npos);
  EXPECT_NE(message(FormatId::q2_0, 96).find("nearest legal row length is 64"), std::string::npos)
      << message(FormatId::q2_0, 96);
  EXPECT_NE(message(FormatId::q8_0, 172).find("nearest legal row length is 160"),
            std::string::npos);
  EXPECT_NE(message(FormatId::q8_0, 181).find("nearest legal row length is 192"),
            std::string::npos);
  constexpr std::int64_t kHuge = std::numeric_limits<std::int64_t>::max() / 2;
  EXPECT_THROW(matrix_bytes(FormatId::f32, kHuge, kHuge), core::Error);
  EXPECT_THROW(matrix_bytes(FormatId::f32, 1, std::numeric_limits<std::int64_t>::max()),
               core::Error);
  EXPECT_THROW(matrix_bytes(FormatId::f32, -1, 32), core::Error);
}

class EachFormat : public testing::TestWithParam<FormatId> {
 protected:
  const QuantFormat& format() const { return info(GetParam()); }
  const nlohmann::json& golden() const {
    return golden_blocks()["formats"][std::string(format().name)];
  }
};

// Loops over many values give the bits of one value at a time.
TEST(Formats, F16IsThatOfOneValueAtATime) {
  std::vector<float> x;
  for (std::uint64_t bits = 0; bits <= 0xFFFFFFFFu; bits += 4093)
    x.push_back(std::bit_cast<float>(static_cast<std::uint32_t>(bits)));
  for (std::uint32_t half = 0; half < 65536; ++half) {
    const float v = core::half_to_float(static_cast<std::uint16_t>(half));
    for (const std::uint32_t off : {0u, 0xFFFu, 0x1000u, 0x1001u})  // about halfway to the next
      x.push_back(std::bit_cast<float>(std::bit_cast<std::uint32_t>(v) + off));
  }
  x.resize(x.size() / 8 * 8 + 5);  // a part of a vector
  const std::vector<std::byte> bytes = encode(info(FormatId::f16), x);
  const std::vector<float> back = decode(info(FormatId::f16), bytes);
  for (std::size_t i = 0; i < x.size(); ++i) {
    std::uint16_t half = 0;
    std::memcpy(&half, bytes.data() + 2 * i, 2);
    ASSERT_EQ(half, core::float_to_half(x[i])) << x[i];
    ASSERT_EQ(std::bit_cast<std::uint32_t>(back[i]),
              std::bit_cast<std::uint32_t>(core::half_to_float(half)));
  }
}

TEST_P(EachFormat, DecodesLikeGguf) {
  const std::vector<float> expected = floats_from_hex(golden()["decoded"]);
  const std::vector<float> actual = decode(format(), from_hex(golden()["blocks"]));
  ASSERT_EQ(actual.size(), expected.size());
  ASSERT_GE(actual.size(), 96u);
  for (std::size_t i = 0; i < actual.size(); ++i)
    ASSERT_TRUE(same_bits(actual[i], expected[i])) << i << ": " << actual[i] << " " << expected[i];
}

TEST_P(EachFormat, EncodesLikeGguf) {
  const std::vector<float> x = floats_from_hex(golden_blocks()["input"]);
  ASSERT_EQ(x.size(), 11u * 256);
  const std::vector<std::byte> actual = encode(format(), x);
  if (format().id == FormatId::f32) {
    EXPECT_EQ(actual, from_hex(golden_blocks()["input"]));
  } else if (golden().contains("encoded")) {
    EXPECT_EQ(actual, from_hex(golden()["encoded"]));
  } else {  // no worse than what llama-quantize makes of it, and its bytes decode to the same
            // values elsewhere
    const std::vector<float> peer = decode(format(), from_hex(golden()["peer"]["bytes"]));
    const std::vector<float> expected = floats_from_hex(golden()["peer"]["decoded"]);
    ASSERT_EQ(peer.size(), x.size());
    for (std::size_t i = 0; i < peer.size(); ++i) ASSERT_TRUE(same_bits(peer[i], expected[i])) << i;
    EXPECT_NEAR(relative_rmse(x, peer), double(golden()["peer"]["relative_rmse"]), 1e-6);
    const double allowed = format().block == kSuperBlock
                               ? 1.02
                               : 1.0;  // other formats minimise exactly what is compared
    EXPECT_LE(relative_rmse(x, decode(format(), actual)),
              allowed * double(golden()["peer"]["relative_rmse"]));
  }
}

// Any bytes come back from their parts, so no bit of a block is lost or invented.
TEST_P(EachFormat, PartsPutTogetherAreTheBlock) {
  if (format().is_float()) {
    EXPECT_EQ(format().take_apart, nullptr);
    return;
  }
  core::Rng rng(29);
  const auto size = static_cast<std::size_t>(format().block_bytes);
  std::vector<std::byte> blocks(5 * size), back(size);
  for (std::byte& b : blocks) b = static_cast<std::byte>(rng.next());
  Parts parts[5];
  format().take_apart(blocks.data(), format().block_bytes, 5, parts);
  for (std::size_t i = 0; i < 5; ++i) {
    format().put_together(parts[i], back.data());
    EXPECT_TRUE(std::equal(back.begin(), back.end(),
                           blocks.begin() + static_cast<std::ptrdiff_t>(i * size)));
  }
  const std::int64_t levels = format().block * format().level_bits / 8,
                     rest = format().block_bytes - levels - 4 * format().scale_words;
  EXPECT_TRUE(rest == 1 || rest == 2 || rest == 4) << rest;  // d, or d and m
}

TEST_P(EachFormat, ErrorOnNormalValues) {
  const std::vector<float> x = normal_values(256 * 40, 3, 0.05f);
  EXPECT_LE(relative_rmse(x, decode(format(), encode(format(), x))), expected_error(format().name));
}

TEST_P(EachFormat, DecodedValuesEncodeToThemselvesNearly) {
  const std::vector<float> once = decode(format(), encode(format(), normal_values(256 * 4, 5)));
  const std::vector<float> twice = decode(format(), encode(format(), once));
  // The K formats search their scales and need not find the same ones, but stay within their
  // ordinary error.
  EXPECT_LE(relative_rmse(once, twice),
            format().block == 256 ? expected_error(format().name) : 1e-3);
}

// With importance the weighted error is at most that of the nearest rounding, and clearly lower
// where the format has a choice.
TEST_P(EachFormat, ImportanceLowersTheWeightedError) {
  const std::vector<float> x = normal_values(256 * 20, 11);
  std::vector<float> importance(x.size());
  core::Rng rng(12);
  for (float& w : importance) w = static_cast<float>(std::pow(rng.uniform(), 4.0));
  const std::vector<float> plain = decode(format(), encode(format(), x));
  const std::vector<float> weighted = decode(format(), encode(format(), x, importance.data()));
  const double before = squared_error(x, plain, importance.data()),
               after = squared_error(x, weighted, importance.data());
  if (format().is_float())
    EXPECT_EQ(before, after);
  else  // MXFP4 can choose among three scales
    EXPECT_LT(after, (format().id == FormatId::mxfp4 ? 0.99 : 0.93) * before);
}

TEST_P(EachFormat, ImportanceOfZeroIsNoImportance) {
  const std::vector<float> x = normal_values(256, 13), zero(256, 0.0f), one(256, 1.0f);
  EXPECT_EQ(encode(format(), x, zero.data()), encode(format(), x, one.data()));
}

TEST_P(EachFormat, ZerosStayZeros) {
  const std::vector<float> x(512, 0.0f);
  for (const float v : decode(format(), encode(format(), x))) ASSERT_EQ(v, 0.0f);
  const std::vector<float> importance(512, 0.5f);
  for (const float v : decode(format(), encode(format(), x, importance.data()))) ASSERT_EQ(v, 0.0f);
}

TEST_P(EachFormat, ConstantBlocks) {
  for (const float constant : {1.0f, -1.0f, 0.3f, -0.37f, 1e-3f, 1000.0f}) {
    const std::vector<float> x(256, constant), importance(256, 2.0f);
    // A step of 1/15 of the value is the coarsest any format has; K formats store their scales in 6
    // bits.
    for (const float v : decode(format(), encode(format(), x)))
      ASSERT_NEAR(v, constant, std::fabs(constant) * coarseness(format().name)) << constant;
    for (const float v : decode(format(), encode(format(), x, importance.data())))
      ASSERT_NEAR(v, constant, std::fabs(constant) * coarseness(format().name)) << constant;
  }
}

TEST_P(EachFormat, LargestValueOfEitherSign) {
  for (const float sign : {1.0f, -1.0f}) {
    std::vector<float> x = normal_values(256, 17, 0.1f);
    for (std::size_t i = 5; i < x.size(); i += 32) x[i] = sign * 3.0f;
    const std::vector<float> y = decode(format(), encode(format(), x));
    for (std::size_t i = 5; i < x.size(); i += 32)
      EXPECT_NEAR(y[i], x[i], 0.4) << i;  // half a step of the coarsest format, q4_0
    EXPECT_LE(relative_rmse(x, y), 0.25);
  }
}

TEST_P(EachFormat, SubnormalValuesDecodeToFiniteSmallValues) {
  std::vector<float> x(256);
  for (std::size_t i = 0; i < x.size(); ++i)
    x[i] =
        (i % 2 ? 1.0f : -1.0f) * static_cast<float>(i) * std::numeric_limits<float>::denorm_min();
  const std::vector<float> importance(256, 1.0f);
  for (const float* w : {static_cast<const float*>(nullptr), importance.data()})
    for (const float v : decode(format(), encode(format(), x, w))) ASSERT_LE(std::fabs(v), 1e-6f);
}

// Values whose scale is beyond binary16: the scale saturates, nothing becomes NaN.
TEST_P(EachFormat, HugeValuesNeverBecomeNan) {
  for (const float size : {1e6f, 1e20f, 3e38f}) {
    std::vector<float> x = normal_values(256, 19);
    for (float& v : x) v = std::isfinite(v * size) ? v * size : size;
    const std::vector<float> importance(256, 1.0f);
    for (const float* w : {static_cast<const float*>(nullptr), importance.data()})
      for (const float v : decode(format(), encode(format(), x, w)))
        ASSERT_FALSE(std::isnan(v)) << size;
  }
}

// Not a use, but a file may hold them: the encoders must return, within the bounds of their arrays.
TEST_P(EachFormat, NonFiniteValuesAreEncodedWithoutUndefinedBehaviour) {
  for (const float odd :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
        -std::numeric_limits<float>::infinity()}) {
    std::vector<float> x = normal_values(256, 23), importance(256, 1.0f);
    x[0] = x[77] = odd;
    EXPECT_EQ(encode(format(), x).size(), encode(format(), x, importance.data()).size());
    EXPECT_EQ(decode(format(), encode(format(), x)).size(), x.size());
  }
}

std::vector<FormatId> every_id() {
  std::vector<FormatId> ids;
  for (const QuantFormat& format : all_formats()) ids.push_back(format.id);
  return ids;
}
INSTANTIATE_TEST_SUITE_P(Formats, EachFormat, testing::ValuesIn(every_id()), [](const auto& param) {
  return std::string(format::info(param.param).name);
});

}  // namespace
}  // namespace espalier::format
