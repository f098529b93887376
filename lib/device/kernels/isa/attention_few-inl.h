// SPDX-License-Identifier: Apache-2.0
// Attention of any number of queries. Each score is a dot product along the head's dimensions.
// Scores of all positions are kept as [query][position], so the softmax is the plain one.
//
// Included inside an unnamed namespace after attention_tile-inl.h, steps-inl.h, kv-inl.h.

// Dot products of kQueries queries with four positions of the tile.
template <int kQueries>
inline void dot_positions(const float* q, std::int64_t ldq, const float* tile, std::int64_t dims,
                          float (*four)[4]) {
  V::F sum[kQueries][4];
#pragma GCC unroll 4
  for (int j = 0; j < kQueries; ++j)
#pragma GCC unroll 4
    for (int p = 0; p < 4; ++p) sum[j][p] = V::zero();
  for (std::int64_t d = 0; d < dims; d += V::kLanes) {
    V::F x[kQueries];
#pragma GCC unroll 4
    for (int j = 0; j < kQueries; ++j) x[j] = load_some(q + j * ldq + d, dims - d);
#pragma GCC unroll 4
    for (int p = 0; p < 4; ++p) {
      const V::F y = V::load(tile + p * kTileDims + d);
#pragma GCC unroll 4
      for (int j = 0; j < kQueries; ++j) sum[j][p] = V::fma(x[j], y, sum[j][p]);
    }
  }
#pragma GCC unroll 4
  for (int j = 0; j < kQueries; ++j) V::sum4(sum[j][0], sum[j][1], sum[j][2], sum[j][3], four[j]);
}

// scores[j][first..] = (or +=) products of query j with the positions of the tile that it sees. The
// tile begins at position `first`.
template <int kQueries>
inline void score_queries(const float* q, std::int64_t ldq, const std::int64_t* visible,
                          const float* tile, std::int64_t first, std::int64_t dims, bool begin,
                          float* scores, std::int64_t n) {
  std::int64_t last = visible[0];
  for (int j = 1; j < kQueries; ++j) last = visible[j] > last ? visible[j] : last;
  for (std::int64_t i = 0; i < kTilePositions && first + i < last; i += 4) {
    float four[kQueries][4];
    dot_positions<kQueries>(q, ldq, tile + i * kTileDims, dims, four);
    for (int j = 0; j < kQueries; ++j) {
      float* score = scores + j * n + first + i;
      const std::int64_t n_visible = smaller(4, visible[j] - first - i);
      for (std::int64_t s = 0; s < n_visible; ++s)
        score[s] = begin ? four[j][s] : score[s] + four[j][s];
    }
  }
}
[[gnu::noinline]] void score_tile(const float* q, std::int64_t ldq, const std::int64_t* visible,
                                  std::int64_t n_queries, const KvTile& tile, std::int64_t first,
                                  std::int64_t dims, bool begin, float* scores, std::int64_t n) {
  std::int64_t j = 0;
  for (; j + kQueriesAtOnce <= n_queries; j += kQueriesAtOnce)
    score_queries<kQueriesAtOnce>(q + j * ldq, ldq, visible + j, tile.value, first, dims, begin,
                                  scores + j * n, n);
  for (; j < n_queries; ++j)
    score_queries<1>(q + j * ldq, ldq, visible + j, tile.value, first, dims, begin, scores + j * n,
                     n);
}

// scores[0, n) -> probabilities
[[gnu::noinline]] void softmax(float* scores, std::int64_t n, float scale) {
  const V::F factor = V::set1(scale);
  V::F tops = V::set1(scores[0] * scale);
  std::int64_t i = 0;
  for (; i + V::kLanes <= n; i += V::kLanes)
    tops = V::max(tops, V::mul(V::load(scores + i), factor));
  float most = V::largest(tops);
  for (; i < n; ++i) most = scores[i] * scale > most ? scores[i] * scale : most;
  const V::F shift = V::set1(-most);
  V::F sum = V::zero();
  i = 0;
  for (; i + V::kLanes <= n; i += V::kLanes) {
    const V::F e = exponential(V::fma(V::load(scores + i), factor, shift));
    V::store(scores + i, e);
    sum = V::add(sum, e);
  }
  float total = V::sum(sum);
  if (i < n) {
    alignas(64) float rest[V::kLanes];
    V::store(rest, exponential(V::fma(load_some(scores + i, n - i), factor, shift)));
    for (std::int64_t j = 0; j < n - i; ++j) {
      scores[i + j] = rest[j];
      total += rest[j];
    }
  }
  const V::F inverse = V::set1(1.0f / total);
  for (i = 0; i < n; i += V::kLanes)
    store_some(scores + i, V::mul(load_some(scores + i, n - i), inverse), n - i);
}

struct WeightsByQuery {  // [query][position], rows n apart
  const float* first;
  std::int64_t n;
  WeightsByQuery of(std::int64_t j) const { return {first + j * n, n}; }
  float at(std::int64_t j, std::int64_t p) const { return first[j * n + p]; }
};

[[gnu::noinline]] void attend_few(const float* q, std::int64_t ldq, const std::int64_t* visible,
                                  std::int64_t n_queries, const KvRows& keys, const KvRows& values,
                                  float scale, float cap, float* scores, float* out,
                                  std::int64_t ldo) {
  const std::int64_t n = keys.positions, head_dim = keys.dims;
  KvTile tile;
  for (std::int64_t p = 0; p < n; p += kTilePositions) {
    for (std::int64_t d = 0; d < head_dim; d += kTileDims) {
      keys.read(keys, p, d, tile);
      score_tile(q + d, ldq, visible, n_queries, tile, p, keys.dims_from(d), d == 0, scores, n);
    }
  }
  for (std::int64_t j = 0; j < n_queries; ++j) {
    if (visible[j] > 0 && cap > 0) soft_cap(scores + j * n, scale, cap, visible[j]);
    if (visible[j] > 0) softmax(scores + j * n, visible[j], cap > 0 ? 1.0f : scale);
    for (std::int64_t d = 0; d < head_dim; d += V::kLanes)
      store_some(out + j * ldo + d, V::zero(), head_dim - d);
  }
  for (std::int64_t p = 0; p < n; p += kTilePositions) {
    for (std::int64_t d = 0; d < head_dim; d += kTileDims) {
      values.read(values, p, d, tile);
      add_tile(WeightsByQuery{scores + p, n}, visible, n_queries, tile, p, values.dims_from(d),
               out + d, ldo);
    }
  }
}
