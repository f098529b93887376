// What the instruction set does at best, to compare speeds with. Included inside an unnamed namespace after V and dot_int8().

// int8 multiply-adds with operands in the first-level cache and sums in registers; returns how many.
std::int64_t multiply_int8(std::int64_t rounds) {
  constexpr int kSums = 12;  // enough to hide the latency of each chain
  alignas(64) unsigned char operands[2 * kSums * V::kBytes];
  for (std::size_t i = 0; i < sizeof operands; ++i) operands[i] = static_cast<unsigned char>(i % 113);
  V::I sum[kSums];
#pragma GCC unroll 12
  for (int i = 0; i < kSums; ++i) sum[i] = V::izero();
  for (std::int64_t r = 0; r < rounds; ++r) {
    asm volatile("" ::: "memory");  // the products of every round are computed anew
#pragma GCC unroll 12
    for (int i = 0; i < kSums; ++i) sum[i] = dot_int8(sum[i], V::iload(operands + i * V::kBytes), V::iload(operands + (kSums + i) * V::kBytes));
  }
  for (int i = 0; i < kSums; ++i) V::istore(operands + i * V::kBytes, sum[i]);
  asm volatile("" ::"r"(operands) : "memory");
  return rounds * kSums * V::kBytes;
}

// Loads all of p[0, bytes), a multiple of 512.
void read_bytes(const unsigned char* p, std::int64_t bytes) {
  constexpr int kVectors = 512 / V::kBytes;
  V::I seen[4] = {V::izero(), V::izero(), V::izero(), V::izero()};
  for (std::int64_t at = 0; at < bytes; at += 512) {
#pragma GCC unroll 16
    for (int i = 0; i < kVectors; ++i) seen[i % 4] = V::ior(seen[i % 4], V::iload(p + at + i * V::kBytes));
  }
  alignas(64) unsigned char sink[V::kBytes];
  V::istore(sink, V::ior(V::ior(seen[0], seen[1]), V::ior(seen[2], seen[3])));
  asm volatile("" ::"r"(sink) : "memory");
}
