// softmax(q k^T * scale) v for queries that share a KV head. Included inside an unnamed namespace after V, tails-inl.h, steps-inl.h, kv-inl.h.
//
// Keys and values come in tiles of 16 positions x 128 dimensions, converted to float once and used by all queries. Scores are kept
// for all positions, so the softmax is the plain one.
constexpr std::int64_t kTilePositions = 16;
constexpr std::int64_t kTileDims = 128;

struct KvTile {
  alignas(64) float value[kTilePositions * kTileDims];  // positions and dimensions that do not exist are 0

  // Columns [first, first + dims) of rows that are `stride` bytes apart.
  template <typename Row>
  void load(const unsigned char* source, std::int64_t stride, std::int64_t positions, std::int64_t first, std::int64_t dims) {
    for (std::int64_t p = 0; p < kTilePositions; ++p)
      for (std::int64_t d = 0; d < dims; d += V::kLanes)
        V::store(value + p * kTileDims + d, p < positions ? Row::load(source + p * stride, first + d, dims - d) : V::zero());
  }
};

constexpr int kQueriesAtOnce = V::kRegisters == 32 ? 4 : 2;  // that share what is loaded of the tile

// Dot products of kQueries queries with four positions of the tile.
template <int kQueries>
inline void dot_positions(const float* q, std::int64_t ldq, const float* tile, std::int64_t dims, float (*four)[4]) {
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

// scores[j][first..] = (or +=) products of queries j with the tile's positions, which begin at `first`; only those a query sees.
template <int kQueries>
inline void score_queries(const float* q, std::int64_t ldq, const std::int64_t* visible, const float* tile, std::int64_t first, std::int64_t dims, bool begin,
                          float* scores, std::int64_t n) {
  std::int64_t last = visible[0];
  for (int j = 1; j < kQueries; ++j) last = visible[j] > last ? visible[j] : last;
  for (std::int64_t i = 0; i < kTilePositions && first + i < last; i += 4) {
    float four[kQueries][4];
    dot_positions<kQueries>(q, ldq, tile + i * kTileDims, dims, four);
    for (int j = 0; j < kQueries; ++j) {
      float* score = scores + j * n + first + i;
      const std::int64_t seen = smaller(4, visible[j] - first - i);
      for (std::int64_t s = 0; s < seen; ++s) score[s] = begin ? four[j][s] : score[s] + four[j][s];
    }
  }
}
[[gnu::noinline]] void score_tile(const float* q, std::int64_t ldq, const std::int64_t* visible, std::int64_t n_queries, const KvTile& tile, std::int64_t first,
                                  std::int64_t dims, bool begin, float* scores, std::int64_t n) {
  std::int64_t j = 0;
  for (; j + kQueriesAtOnce <= n_queries; j += kQueriesAtOnce)
    score_queries<kQueriesAtOnce>(q + j * ldq, ldq, visible + j, tile.value, first, dims, begin, scores + j * n, n);
  for (; j < n_queries; ++j) score_queries<1>(q + j * ldq, ldq, visible + j, tile.value, first, dims, begin, scores + j * n, n);
}

// scores[0, n) -> probabilities
[[gnu::noinline]] void softmax(float* scores, std::int64_t n, float scale) {
  const V::F factor = V::set1(scale);
  V::F tops = V::set1(scores[0] * scale);
  std::int64_t i = 0;
  for (; i + V::kLanes <= n; i += V::kLanes) tops = V::max(tops, V::mul(V::load(scores + i), factor));
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
  for (i = 0; i < n; i += V::kLanes) store_some(scores + i, V::mul(load_some(scores + i, n - i), inverse), n - i);
}

// out[j][0, kVectors vectors) += sum over positions [begin, end) of weight[j][p] * tile[p]
template <int kQueries, int kVectors>
inline void add_positions(const float* weight, std::int64_t ldw, std::int64_t begin, std::int64_t end, const float* tile, float* out, std::int64_t ldo) {
  V::F sum[kQueries][kVectors];
#pragma GCC unroll 4
  for (int j = 0; j < kQueries; ++j)
#pragma GCC unroll 8
    for (int i = 0; i < kVectors; ++i) sum[j][i] = V::load(out + j * ldo + i * V::kLanes);
  for (std::int64_t p = begin; p < end; ++p) {
    V::F w[kQueries];
#pragma GCC unroll 4
    for (int j = 0; j < kQueries; ++j) w[j] = V::set1(weight[j * ldw + p]);
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
inline void add_positions_of_one(const float* weight, std::int64_t begin, std::int64_t end, const float* tile, float* out, std::int64_t dims) {
  std::int64_t i = 0;
  for (; i + 8 * V::kLanes <= dims; i += 8 * V::kLanes) add_positions<1, 8>(weight, 0, begin, end, tile + i, out + i, 0);
  for (; i + 4 * V::kLanes <= dims; i += 4 * V::kLanes) add_positions<1, 4>(weight, 0, begin, end, tile + i, out + i, 0);
  for (; i < dims; i += V::kLanes) {
    V::F sum = load_some(out + i, dims - i);
    for (std::int64_t p = begin; p < end; ++p) sum = V::fma(V::set1(weight[p]), V::load(tile + p * kTileDims + i), sum);
    store_some(out + i, sum, dims - i);
  }
}

// out[j] += sum over the tile's positions that query j sees; they begin at `first`, their weights at scores[j * n + first].
[[gnu::noinline]] void add_tile(const float* scores, std::int64_t n, const std::int64_t* visible, std::int64_t n_queries, const KvTile& tile, std::int64_t first,
                                std::int64_t dims, float* out, std::int64_t ldo) {
  const auto seen = [&](std::int64_t j) { return smaller(kTilePositions, visible[j] - first); };
  std::int64_t j = 0;
  for (; j + kQueriesAtOnce <= n_queries; j += kQueriesAtOnce) {
    const float* weight = scores + j * n + first;
    std::int64_t all = seen(j);  // positions that each of these queries sees
    for (int k = 1; k < kQueriesAtOnce; ++k) all = smaller(all, seen(j + k));
    if (dims % (4 * V::kLanes) != 0) all = 0;
    if (all > 0)
      for (std::int64_t i = 0; i < dims; i += 4 * V::kLanes) add_positions<kQueriesAtOnce, 4>(weight, n, 0, all, tile.value + i, out + j * ldo + i, ldo);
    for (int k = 0; k < kQueriesAtOnce; ++k)
      if (all < seen(j + k)) add_positions_of_one(weight + k * n, all > 0 ? all : 0, seen(j + k), tile.value, out + (j + k) * ldo, dims);
  }
  for (; j < n_queries; ++j) add_positions_of_one(scores + j * n + first, 0, seen(j), tile.value, out + j * ldo, dims);
}

template <typename Row>
void attention(const float* q, std::int64_t ldq, const std::int64_t* visible, std::int64_t n_queries, const void* keys, const void* values,
               std::int64_t stride, std::int64_t head_dim, float scale, float cap, float* scores, float* out, std::int64_t ldo) {
  const auto* k = static_cast<const unsigned char*>(keys);
  const auto* v = static_cast<const unsigned char*>(values);
  std::int64_t n = 0;
  for (std::int64_t j = 0; j < n_queries; ++j) n = visible[j] > n ? visible[j] : n;
  KvTile tile;
  for (std::int64_t p = 0; p < n; p += kTilePositions) {
    for (std::int64_t d = 0; d < head_dim; d += kTileDims) {
      const std::int64_t dims = smaller(kTileDims, head_dim - d);
      tile.load<Row>(k + p * stride, stride, smaller(kTilePositions, n - p), d, dims);
      score_tile(q + d, ldq, visible, n_queries, tile, p, dims, d == 0, scores, n);
    }
  }
  for (std::int64_t j = 0; j < n_queries; ++j) {
    if (visible[j] > 0 && cap > 0) soft_cap(scores + j * n, scale, cap, visible[j]);
    if (visible[j] > 0) softmax(scores + j * n, visible[j], cap > 0 ? 1.0f : scale);
    for (std::int64_t d = 0; d < head_dim; d += V::kLanes) store_some(out + j * ldo + d, V::zero(), head_dim - d);
  }
  for (std::int64_t p = 0; p < n; p += kTilePositions) {
    for (std::int64_t d = 0; d < head_dim; d += kTileDims) {
      const std::int64_t dims = smaller(kTileDims, head_dim - d);
      tile.load<Row>(v + p * stride, stride, smaller(kTilePositions, n - p), d, dims);
      add_tile(scores, n, visible, n_queries, tile, p, dims, out + d, ldo);
    }
  }
}
