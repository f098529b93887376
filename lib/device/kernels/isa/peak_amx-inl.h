// SPDX-License-Identifier: Apache-2.0
// The peak of int8 multiply-adds with tiles, to compare speeds with. Included inside an unnamed
// namespace after amx-inl.h.

// All operands are in registers. Four sums in turn hide the latency. Returns the number of
// multiply-adds.
std::int64_t multiply_int8(std::int64_t rounds) {
  constexpr int kRows = 16, kRowBytes = 64, kSums = 4;
  AmxConfig config;
  for (int tile = 0; tile < 8; ++tile) config.set(tile, kRows, kRowBytes);
  alignas(64) unsigned char operand[kRows * kRowBytes];
  for (std::size_t i = 0; i < sizeof operand; ++i) operand[i] = static_cast<unsigned char>(i % 113);
  amx_configure(config);
  amx_zero<0>();
  amx_zero<1>();
  amx_zero<2>();
  amx_zero<3>();
  amx_load<4>(operand, kRowBytes);
  amx_load<5>(operand, kRowBytes);
  for (std::int64_t r = 0; r < rounds; ++r) {
    amx_dot<0, 4, 5>();
    amx_dot<1, 4, 5>();
    amx_dot<2, 4, 5>();
    amx_dot<3, 4, 5>();
  }
  amx_release();
  return rounds * kSums * kRows * kRows * kRowBytes;
}
