// SPDX-License-Identifier: Apache-2.0
// Q8_0: 32 values, 34 bytes, 8.5 bits a value.
//
//   0        2                                   34
//   | d: f16 | qs: 32 x int8                      |      x[i] = d * qs[i]
//
// Nearest: d = max|x| / 127, levels rounded half away from zero.
#include "format/blocks/simple.h"

namespace espalier::format {
namespace {

struct BlockQ8_0 {
  std::uint16_t d;
  std::int8_t qs[kBlock32];
};
static_assert(sizeof(BlockQ8_0) == 34);

struct Codec {
  using Block = BlockQ8_0;
  static constexpr int kValues = kBlock32;

  static void take_apart(const Block& block, Parts& __restrict out) {
    out.d = block.d;
    std::memcpy(out.q, block.qs, sizeof block.qs);
  }
  static Block put_together(const Parts& parts) {
    Block block{.d = parts.d, .qs = {}};
    std::memcpy(block.qs, parts.q, sizeof block.qs);
    return block;
  }
  static void decode_block(const Block& block, float* out) {
    const float d = core::half_to_float(block.d);
    for (int i = 0; i < kBlock32; ++i) out[i] = static_cast<float>(block.qs[i]) * d;
  }
  static Block with_scale(const float* x, float stored, float id) {
    Block block{scale_bits(stored), {}};
    for (int i = 0; i < kBlock32; ++i) {
      const float v = x[i] * id;
      const int magnitude = level(std::fabs(v) + 0.5f, 127);
      block.qs[i] = static_cast<std::int8_t>(v < 0.0f ? -magnitude : magnitude);
    }
    return block;
  }
  static Block nearest(const float* x) {
    const float d = std::fabs(extreme(x, kBlock32)) / 127.0f;
    return with_scale(x, d, inverse(d));
  }
  static Block searched(const float* x, const float* weight) {
    const float d = core::half_to_float(scale_bits(fit_scale<kBlock32>({x, weight}, -127, 127)));
    return with_scale(x, d, inverse(d));
  }
  static Block encode_block(const float* x, const float* importance) {
    return nearest_or_searched<Codec>(x, importance);
  }
  static void encode_lanes(const float* x, const float* importance, std::byte* out);
};

// -128 stays unused, as in other encoders. Kernels that take absolute values of int8 rely on it.
constexpr Grid kGrid = {.block = kBlock32,
                        .sub = 32,
                        .low = -127,
                        .high = 127,
                        .signed_levels = true,
                        .fit = fit_step<32, -127, 127>};
void Codec::encode_lanes(const float* x, const float* importance, std::byte* out) {
  encode_small_blocks<Codec>(kGrid, x, importance, out);
}

}  // namespace

constinit const QuantFormat k_q8_0 = block_format<Codec>({.id = FormatId::q8_0,
                                                          .name = "q8_0",
                                                          .gguf_type = 8,
                                                          .file_type = 7,
                                                          .level_bits = 8,
                                                          .grid = &kGrid});

}  // namespace espalier::format
