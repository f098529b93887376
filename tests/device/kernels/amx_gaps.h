// SPDX-License-Identifier: Apache-2.0
// AMX tiles in software, as the instructions' pages in Intel's SDM have them: what would raise an
// exception there ends the program here.
#pragma once
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace espalier::kernels::simde_gaps {

struct AmxUnit {
  static constexpr int kTiles = 8, kRows = 16, kRowBytes = 64;
  bool configured = false;
  int rows[kTiles] = {}, row_bytes[kTiles] = {};
  std::uint8_t tile[kTiles][kRows][kRowBytes] = {};

  static void require(bool fine, const char* what) {
    if (fine) return;
    std::fprintf(stderr, "AMX: %s\n", what);
    std::abort();
  }
  void require_tile(int t) const {
    require(configured && rows[t] > 0 && row_bytes[t] > 0, "a tile that is not configured");
  }
  // An instruction that writes a tile clears what lies beyond its rows and columns.
  void clear(int t) { std::memset(tile[t], 0, sizeof tile[t]); }
};
inline thread_local AmxUnit amx;

inline void amx_configure_bytes(
    const unsigned char*
        memory) {  // 0 palette, 1 start row, 2-15 zero, 16 + 2t bytes of a row, 48 + t rows
  AmxUnit::require(memory[0] == 1, "palette");
  for (int i = 1; i < 16; ++i) AmxUnit::require(memory[i] == 0, "start row or reserved bytes");
  for (int t = 0; t < 16; ++t) {
    const int bytes = memory[16 + 2 * t] | memory[17 + 2 * t] << 8, rows = memory[48 + t];
    AmxUnit::require(t < AmxUnit::kTiles || (bytes == 0 && rows == 0), "a ninth tile");
    AmxUnit::require(
        bytes <= AmxUnit::kRowBytes && rows <= AmxUnit::kRows && (bytes == 0) == (rows == 0),
        "size of a tile");
    if (t >= AmxUnit::kTiles) continue;
    amx.rows[t] = rows;
    amx.row_bytes[t] = bytes;
    amx.clear(t);
  }
  amx.configured = true;
}
template <typename Config>
inline void amx_configure(const Config& config) {
  static_assert(sizeof config == 64);
  unsigned char bytes[64];
  std::memcpy(bytes, &config, sizeof bytes);
  amx_configure_bytes(bytes);
}
inline void amx_release() { amx.configured = false; }

template <int kTile>
inline void amx_zero() {
  amx.require_tile(kTile);
  amx.clear(kTile);
}
template <int kTile>
inline void amx_load(const void* p, std::int64_t stride) {
  amx.require_tile(kTile);
  amx.clear(kTile);
  for (int r = 0; r < amx.rows[kTile]; ++r)
    std::memcpy(amx.tile[kTile][r], static_cast<const unsigned char*>(p) + r * stride,
                static_cast<std::size_t>(amx.row_bytes[kTile]));
}
template <int kTile>
inline void amx_store(void* p, std::int64_t stride) {
  amx.require_tile(kTile);
  for (int r = 0; r < amx.rows[kTile]; ++r)
    std::memcpy(static_cast<unsigned char*>(p) + r * stride, amx.tile[kTile][r],
                static_cast<std::size_t>(amx.row_bytes[kTile]));
}
// TDPBSSD
template <int kSum, int kA, int kB>
inline void amx_dot() {
  for (const int t : {kSum, kA, kB}) amx.require_tile(t);
  AmxUnit::require(kSum != kA && kSum != kB && kA != kB, "the same tile twice");
  AmxUnit::require(amx.rows[kSum] == amx.rows[kA] && amx.row_bytes[kSum] == amx.row_bytes[kB] &&
                       amx.row_bytes[kA] == 4 * amx.rows[kB] && amx.row_bytes[kSum] % 4 == 0,
                   "sizes of tiles that do not fit");
  for (int m = 0; m < amx.rows[kSum]; ++m)
    for (int n = 0; n < amx.row_bytes[kSum] / 4; ++n) {
      std::uint32_t sum = 0;  // wraps
      std::memcpy(&sum, amx.tile[kSum][m] + 4 * n, 4);
      for (int k = 0; k < amx.rows[kB]; ++k)
        for (int i = 0; i < 4; ++i)
          sum += static_cast<std::uint32_t>(static_cast<std::int8_t>(amx.tile[kA][m][4 * k + i]) *
                                            static_cast<std::int8_t>(amx.tile[kB][k][4 * n + i]));
      std::memcpy(amx.tile[kSum][m] + 4 * n, &sum, 4);
    }
}

}  // namespace espalier::kernels::simde_gaps
