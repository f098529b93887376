// SPDX-License-Identifier: Apache-2.0
// Keys and values of 16 positions x 128 dimensions as float, and weighted sums of values. Included
// inside an unnamed namespace after V, tails-inl.h.
constexpr std::int64_t kTilePositions = 16;
constexpr std::int64_t kTileDims = 128;

struct KvTile {
  alignas(64) float value[kTilePositions *
                          kTileDims];  // positions and dimensions that do not exist are 0
};

// Keys or values of one head in a format of the cache, with rows `stride` bytes apart. read() fills
// a tile from position p and dimension d on.
struct KvRows {
  const unsigned char* source;
  std::int64_t stride, positions, dims;
  void (*read)(const KvRows& rows, std::int64_t p, std::int64_t d, KvTile& tile);
  std::int64_t dims_from(std::int64_t d) const { return smaller(kTileDims, dims - d); }
};
template <typename Row>
void read_tile(const KvRows& rows, std::int64_t p, std::int64_t d, KvTile& tile) {
  const std::int64_t dims = rows.dims_from(d);
  for (std::int64_t i = 0; i < kTilePositions; ++i)
    for (std::int64_t c = 0; c < dims; c += V::kLanes)
      V::store(tile.value + i * kTileDims + c,
               p + i < rows.positions
                   ? Row::load(rows.source + (p + i) * rows.stride, d + c, dims - c)
                   : V::zero());
}

// Queries that share each load from the tile.
constexpr int kQueriesAtOnce = V::kRegisters == 32 ? 4 : 2;

// out[j][0, kVectors vectors) += sum over positions [begin, end) of weights.at(j, p) * tile[p].
// weights.of(j) begins at query j.
template <int kQueries, int kVectors, typename Weights>
inline void add_positions(const Weights& weights, std::int64_t begin, std::int64_t end,
                          const float* tile, float* out, std::int64_t ldo) {
  V::F sum[kQueries][kVectors];
#pragma GCC unroll 4
  for (int j = 0; j < kQueries; ++j)
#pragma GCC unroll 8
    for (int i = 0; i < kVectors; ++i) sum[j][i] = V::load(out + j * ldo + i * V::kLanes);
  for (std::int64_t p = begin; p < end; ++p) {
    V::F w[kQueries];
#pragma GCC unroll 4
    for (int j = 0; j < kQueries; ++j) w[j] = V::set1(weights.at(j, p));
#pragma GCC unroll 8
    for (int i = 0; i < kVectors; ++i) {
      const V::F y = V::load(tile + p * kTileDims + i * V::kLanes);
#pragma GCC unroll 4
      for (int j = 0; j < kQueries; ++j) sum[j][i] = V::fma(w[j], y, sum[j][i]);
    }
  }
#pragma GCC unroll 4
  for (int j = 0; j < kQueries; ++j)
#pragma GCC unroll 8
    for (int i = 0; i < kVectors; ++i) V::store(out + j * ldo + i * V::kLanes, sum[j][i]);
}

// The same for one query and all dimensions.
template <typename Weights>
inline void add_positions_of_one(const Weights& weights, std::int64_t begin, std::int64_t end,
                                 const float* tile, float* out, std::int64_t dims) {
  std::int64_t i = 0;
  for (; i + 8 * V::kLanes <= dims; i += 8 * V::kLanes)
    add_positions<1, 8>(weights, begin, end, tile + i, out + i, 0);
  for (; i + 4 * V::kLanes <= dims; i += 4 * V::kLanes)
    add_positions<1, 4>(weights, begin, end, tile + i, out + i, 0);
  for (; i < dims; i += V::kLanes) {
    V::F sum = load_some(out + i, dims - i);
    for (std::int64_t p = begin; p < end; ++p)
      sum = V::fma(V::set1(weights.at(0, p)), V::load(tile + p * kTileDims + i), sum);
    store_some(out + i, sum, dims - i);
  }
}

// out[j] += sum over the positions of the tile that query j sees. The tile begins at position
// `first`.
template <typename Weights>
void add_tile(const Weights& weights, const std::int64_t* visible, std::int64_t n_queries,
              const KvTile& tile, std::int64_t first, std::int64_t dims, float* out,
              std::int64_t ldo) {
  const auto visible_in_tile = [&](std::int64_t j) {
    return smaller(kTilePositions, visible[j] - first);
  };
  const std::int64_t together = n_queries - n_queries % kQueriesAtOnce;
  for (std::int64_t j = 0; j < together; j += kQueriesAtOnce) {
    std::int64_t all = visible_in_tile(j);  // number of positions that all of these queries see
    for (int k = 1; k < kQueriesAtOnce; ++k) all = smaller(all, visible_in_tile(j + k));
    if (dims % (4 * V::kLanes) != 0) all = 0;
    if (all > 0)
      for (std::int64_t i = 0; i < dims; i += 4 * V::kLanes)
        add_positions<kQueriesAtOnce, 4>(weights.of(j), 0, all, tile.value + i, out + j * ldo + i,
                                         ldo);
    for (int k = 0; k < kQueriesAtOnce; ++k)
      if (all < visible_in_tile(j + k))
        add_positions_of_one(weights.of(j + k), all > 0 ? all : 0, visible_in_tile(j + k),
                             tile.value, out + (j + k) * ldo, dims);
  }
  for (std::int64_t j = together; j < n_queries; ++j)
    add_positions_of_one(weights.of(j), 0, visible_in_tile(j), tile.value, out + j * ldo, dims);
}
