// SPDX-License-Identifier: Apache-2.0
// The tile instructions of AMX (Intel 64 SDM volume 2, "TILELOADD", "TDPBSSD"; volume 1, chapter
// 18): 8 registers of up to 16 rows of 64 bytes. They are written as assembly, so that the compiler
// knows that a loaded tile depends on memory. Included inside an unnamed namespace.

// Palette 1: the number of rows of each register, and the bytes per row. Every thread loads its own
// configuration.
struct alignas(64) AmxConfig {
  std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
  std::uint16_t row_bytes[16] = {};
  std::uint8_t rows[16] = {};

  void set(int tile, int n_rows, int bytes) {
    rows[tile] = static_cast<std::uint8_t>(n_rows);
    row_bytes[tile] = static_cast<std::uint16_t>(bytes);
  }
};
static_assert(sizeof(AmxConfig) == 64);

#ifdef ESP_SIMDE
using simde_gaps::amx_configure, simde_gaps::amx_release, simde_gaps::amx_zero,
    simde_gaps::amx_load, simde_gaps::amx_store, simde_gaps::amx_dot;
#else
inline void amx_configure(const AmxConfig& config) { asm volatile("ldtilecfg %0" ::"m"(config)); }
// Releases the registers. The system switches a thread without tiles faster.
inline void amx_release() { asm volatile("tilerelease"); }
template <int kTile>
inline void amx_zero() {
  asm volatile("tilezero %%tmm%c0" ::"i"(kTile));
}
template <int kTile>
inline void amx_load(const void* p, std::int64_t stride) {
  asm volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(p), "r"(stride), "i"(kTile) : "memory");
}
template <int kTile>
inline void amx_store(void* p, std::int64_t stride) {
  asm volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(p), "r"(stride), "i"(kTile) : "memory");
}
// sum[m][n] += a[m][4k + i] * b[k][4n + i] over k and i < 4: signed bytes, 32-bit sums.
template <int kSum, int kA, int kB>
inline void amx_dot() {
  asm volatile("tdpbssd %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(kSum), "i"(kA), "i"(kB));
}
#endif
