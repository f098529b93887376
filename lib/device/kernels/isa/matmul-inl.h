// SPDX-License-Identifier: Apache-2.0
// y = W x of many tokens for row-interleaved weights and int8 activations. A panel of 256 columns
// of two groups of rows is unpacked once. It is multiplied with a block of tokens, tile by tile.
// Included inside an unnamed namespace after panel-inl.h and a tile_of().

constexpr std::int64_t kTokenBlock = 128;  // tokens that share one unpacked panel
static_assert(kTokenBlock % kTokenTile == 0);

template <typename Format>
void matmul_groups(const WeightView& w, const ActivationView& x, std::int64_t row,
                   std::int64_t rows, std::int64_t token_begin, std::int64_t token_end, float* y,
                   std::int64_t ldy) {
  const std::int64_t n = token_end - token_begin;
  constexpr std::int64_t kWidth = kGroups * V::kLanes;
  alignas(64) float acc[kTokenBlock * kWidth];
  for (std::int64_t i = 0; i < n * kWidth; i += V::kLanes) V::store(acc + i, V::zero());
  using S = typename Format::Shape;
  Panel<S> panel;
  const unsigned char* first = w.data + row / V::kLanes * w.group_bytes;
  const unsigned char* const group[kGroups] = {
      // A group without a partner is its own.
      first, rows > V::kLanes ? first + w.group_bytes : first};
  for (std::int64_t c = 0; c < w.cols; c += kChunk) {
    const int blocks = static_cast<int>(smaller(w.cols - c, kChunk) / 32);
    for (int g = 0; g < kGroups; ++g)
      panel.template unpack<Format>(group[g] + c / Format::kColumns * Format::kBytes, g, blocks);
    const auto* chunk =
        static_cast<const typename S::Chunk*>(x.chunks) + c / kChunk * x.n + token_begin;
    // The weights of the next panel come from memory while this panel is multiplied. Each tile
    // prefetches its share of them.
    const std::int64_t following = c + kChunk < w.cols
                                       ? (c + kChunk) / Format::kColumns * Format::kBytes
                                       : kGroups * w.group_bytes;
    const std::int64_t lines = (kChunk / Format::kColumns * Format::kBytes * kTokenTile /
                                    (n > kTokenTile ? n : kTokenTile) +
                                63) /
                               64;
    for (std::int64_t t = 0; t < n; t += kTokenTile) {
      for (const unsigned char* next : group) {
        next += following + t / kTokenTile * lines * 64;
        for (std::int64_t i = 0; i < lines; ++i) __builtin_prefetch(next + 64 * i, 0, 2);
      }
      tile_of<S>(panel, chunk + t, smaller(kTokenTile, n - t), blocks, acc + t * kWidth);
    }
  }
  for (std::int64_t t = 0; t < n; ++t)
    for (int g = 0; g < kGroups; ++g)
      store_some(y + (token_begin + t) * ldy + row + g * V::kLanes,
                 V::load(acc + t * kWidth + g * V::kLanes), rows - g * V::kLanes);
}

template <typename Format>
void matmul(const WeightView& w, const ActivationView& x, std::int64_t row_begin,
            std::int64_t row_end, float* y, std::int64_t ldy) {
  [[maybe_unused]] const auto tiles = TileState::of<typename Format::Shape>(x.n);
  for (std::int64_t t = 0; t < x.n; t += kTokenBlock) {
    const std::int64_t token_end = smaller(t + kTokenBlock, x.n);
    for (std::int64_t row = row_begin; row < row_end; row += kGroups * V::kLanes)
      matmul_groups<Format>(w, x, row, row_end - row, t, token_end, y, ldy);
  }
}
