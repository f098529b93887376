// SPDX-License-Identifier: Apache-2.0
// The peak of the instruction set, to compare speeds with. Included inside an unnamed namespace
// after V and dot_int8().

// int8 multiply-adds with one operand in a register, the other in the first-level cache, and sums
// in registers. Returns their number.
std::int64_t multiply_int8(std::int64_t rounds) {
  constexpr int kSums = 12;  // enough to hide the latency of each chain
  alignas(64) unsigned char operands[kSums * V::kBytes];
  for (std::size_t i = 0; i < sizeof operands; ++i)
    operands[i] = static_cast<unsigned char>(i % 113);
  const V::I factor = V::iload(operands);
  V::I sum[kSums];
#pragma GCC unroll 12
  for (int i = 0; i < kSums; ++i) sum[i] = V::izero();
  for (std::int64_t r = 0; r < rounds; ++r) {
    asm volatile("" ::: "memory");  // makes every round compute its products anew
#pragma GCC unroll 12
    for (int i = 0; i < kSums; ++i)
      sum[i] = dot_int8(sum[i], V::iload(operands + i * V::kBytes), factor);
  }
#pragma GCC unroll 12  // otherwise the sums are in memory
  for (int i = 0; i < kSums; ++i) V::istore(operands + i * V::kBytes, sum[i]);
  asm volatile("" ::"r"(operands) : "memory");
  return rounds * kSums * V::kBytes;
}

// Loads all of p[0, bytes), a multiple of 512, in ascending order. The processor predicts no other
// order as well.
void read_bytes(const unsigned char* p, std::int64_t bytes) {
  V::I a = V::izero(), b = a, c = a, d = a;
  for (std::int64_t at = 0; at < bytes; at += 4 * V::kBytes) {
    a = V::ior(a, V::iload(p + at));
    b = V::ior(b, V::iload(p + at + V::kBytes));
    c = V::ior(c, V::iload(p + at + 2 * V::kBytes));
    d = V::ior(d, V::iload(p + at + 3 * V::kBytes));
  }
  alignas(64) unsigned char sink[V::kBytes];
  V::istore(sink, V::ior(V::ior(a, b), V::ior(c, d)));
  asm volatile("" ::"r"(sink) : "memory");
}
