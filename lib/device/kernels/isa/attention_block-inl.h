// SPDX-License-Identifier: Apache-2.0
// Attention of 16 queries at once, one query per lane. A score is a sum over dimensions of q[d] of
// all queries times one k[d], so no sum runs across lanes. The softmax runs over positions in all
// lanes at once. Scores of all positions are kept as [position][16], so the softmax is the plain
// one.
//
// Included inside an unnamed namespace after attention_tile-inl.h, steps-inl.h, kv-inl.h.
constexpr std::int64_t kBlockQueries = 16;
constexpr int kBlockVectors = kBlockQueries / V::kLanes;
constexpr int kPositionsAtOnce = V::kLanes == 16 ? 8 : 4;

struct WeightsByPosition {
  const float* first;
  WeightsByPosition of(std::int64_t j) const { return {first + j}; }
  float at(std::int64_t j, std::int64_t p) const { return first[p * kBlockQueries + j]; }
};

// scores[p][16] = (or +=) products of the queries, columns[dims][16], with positions [0, n) of the
// tile.
[[gnu::noinline]] void score_block(const float* columns, const KvTile& tile, std::int64_t dims,
                                   std::int64_t n, bool begin, float* scores) {
  for (std::int64_t first = 0; first < n; first += kPositionsAtOnce) {
    const float* keys = tile.value + first * kTileDims;
    V::F sum[kPositionsAtOnce][kBlockVectors];
#pragma GCC unroll 8
    for (int p = 0; p < kPositionsAtOnce; ++p)
#pragma GCC unroll 4
      for (int i = 0; i < kBlockVectors; ++i) sum[p][i] = V::zero();
    for (std::int64_t d = 0; d < dims; ++d) {
      V::F q[kBlockVectors];
#pragma GCC unroll 4
      for (int i = 0; i < kBlockVectors; ++i)
        q[i] = V::load(columns + d * kBlockQueries + i * V::kLanes);
#pragma GCC unroll 8
      for (int p = 0; p < kPositionsAtOnce; ++p) {
        const V::F k = V::set1(keys[p * kTileDims + d]);
#pragma GCC unroll 4
        for (int i = 0; i < kBlockVectors; ++i) sum[p][i] = V::fma(q[i], k, sum[p][i]);
      }
    }
#pragma GCC unroll 8
    for (int p = 0; p < kPositionsAtOnce; ++p) {
      if (first + p >= n) break;
#pragma GCC unroll 4
      for (int i = 0; i < kBlockVectors; ++i) {
        float* score = scores + (first + p) * kBlockQueries + i * V::kLanes;
        V::store(score, begin ? sum[p][i] : V::add(V::load(score), sum[p][i]));
      }
    }
  }
}

// scores[n][16] -> weights whose sums over positions are 1 / inverse[16]. A score of -infinity
// becomes (nearly) 0.
[[gnu::noinline]] void softmax_block(float* scores, std::int64_t n, float scale, float* inverse) {
  const V::F factor = V::set1(scale);
  for (std::int64_t i = 0; i < kBlockQueries; i += V::kLanes) {
    V::F most = V::set1(-1e30f);
    for (std::int64_t p = 0; p < n; ++p)
      most = V::max(most, V::load(scores + p * kBlockQueries + i));
    const V::F shift = V::mul(most, V::set1(-scale));
    V::F sum = V::zero();
    for (std::int64_t p = 0; p < n; ++p) {
      const V::F e = exponential(V::fma(V::load(scores + p * kBlockQueries + i), factor, shift));
      V::store(scores + p * kBlockQueries + i, e);
      sum = V::add(sum, e);
    }
    V::store(inverse + i, V::div(V::set1(1.0f), sum));
  }
}

[[gnu::noinline]] void attend_block(const float* q, std::int64_t ldq, const std::int64_t* visible,
                                    const KvRows& keys, const KvRows& values, float scale,
                                    float cap, float* scores, float* out, std::int64_t ldo) {
  const std::int64_t n = keys.positions, head_dim = keys.dims;
  KvTile tile;
  for (std::int64_t d = 0; d < head_dim; d += kTileDims) {
    const std::int64_t dims = keys.dims_from(d);
    alignas(64) float columns[kTileDims * kBlockQueries];
    for (std::int64_t c = 0; c < dims; ++c)
      for (std::int64_t j = 0; j < kBlockQueries; ++j)
        columns[c * kBlockQueries + j] = q[j * ldq + d + c];
    for (std::int64_t p = 0; p < n; p += kTilePositions) {
      keys.read(keys, p, d, tile);
      score_block(columns, tile, dims, smaller(kTilePositions, n - p), d == 0,
                  scores + p * kBlockQueries);
    }
  }
  if (cap > 0) soft_cap(scores, scale, cap, n * kBlockQueries);
  for (std::int64_t j = 0; j < kBlockQueries; ++j)
    for (std::int64_t p = visible[j]; p < n; ++p) scores[p * kBlockQueries + j] = -__builtin_inff();
  alignas(64) float inverse[kBlockQueries];
  softmax_block(scores, n, cap > 0 ? 1.0f : scale, inverse);
  for (std::int64_t j = 0; j < kBlockQueries; ++j)
    for (std::int64_t d = 0; d < head_dim; d += V::kLanes)
      store_some(out + j * ldo + d, V::zero(), head_dim - d);
  for (std::int64_t p = 0; p < n; p += kTilePositions) {
    for (std::int64_t d = 0; d < head_dim; d += kTileDims) {
      values.read(values, p, d, tile);
      add_tile(WeightsByPosition{scores + p * kBlockQueries}, visible, kBlockQueries, tile, p,
               values.dims_from(d), out + d, ldo);
    }
  }
  for (std::int64_t j = 0; j < kBlockQueries; ++j) {
    const V::F factor = V::set1(inverse[j]);
    for (std::int64_t d = 0; d < head_dim; d += V::kLanes)
      store_some(out + j * ldo + d, V::mul(load_some(out + j * ldo + d, head_dim - d), factor),
                 head_dim - d);
  }
}
