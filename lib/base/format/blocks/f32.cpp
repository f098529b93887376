// SPDX-License-Identifier: Apache-2.0
// F32: IEEE binary32, little-endian, one value a block. Both directions copy the bits.
#include "format/blocks/codec.h"

namespace espalier::format {
namespace {

void decode(const std::byte* source, float* out, std::int64_t n) {
  std::memcpy(out, source, static_cast<std::size_t>(n) * sizeof(float));
}
void encode(const float* source, const float*, std::byte* out, std::int64_t n) {
  std::memcpy(out, source, static_cast<std::size_t>(n) * sizeof(float));
}

}  // namespace

constinit const QuantFormat k_f32 = {.id = FormatId::f32,
                                     .name = "f32",
                                     .gguf_type = 0,
                                     .file_type = 0,
                                     .block_bytes = 4,
                                     .decode = decode,
                                     .encode = encode,
                                     .first_not_finite = first_f32_not_finite,
                                     .largest = std::numeric_limits<float>::max(),
                                     .least = 0};

}  // namespace espalier::format
