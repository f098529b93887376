// SPDX-License-Identifier: Apache-2.0
// BF16: the upper 16 bits of a binary32 (1 sign, 8 exponent, 7 mantissa bits), little-endian, one
// value a block. Rounds to nearest even. NaN stays NaN and becomes quiet.
#include "format/blocks/codec.h"

namespace espalier::format {
namespace {

void decode(const std::byte* source, float* out, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i)
    out[i] = core::bf16_to_float(load_block<std::uint16_t>(source, i));
}
void encode(const float* source, const float*, std::byte* out, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) store_block(core::float_to_bf16(source[i]), out, i);
}

}  // namespace

constinit const QuantFormat k_bf16 = {.id = FormatId::bf16,
                                      .name = "bf16",
                                      .gguf_type = 30,
                                      .file_type = 32,
                                      .block_bytes = 2,
                                      .decode = decode,
                                      .encode = encode,
                                      .first_not_finite = first_bf16_not_finite,
                                      .largest = 0x1.FEp127f,
                                      .least = 0};

}  // namespace espalier::format
