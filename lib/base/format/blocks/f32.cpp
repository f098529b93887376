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

const QuantFormat k_f32 = {FormatId::f32, "f32", 0, 1, 4, decode, encode};

}  // namespace espalier::format
