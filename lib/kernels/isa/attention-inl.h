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

// Dot products of one query with four positions of the tile.
inline void dot_positions(const float* q, const float* tile, std::int64_t dims, float* four) {
  V::F sum[4] = {V::zero(), V::zero(), V::zero(), V::zero()};
  for (std::int64_t d = 0; d < dims; d += V::kLanes) {
    const V::F x = load_some(q + d, dims - d);
#pragma GCC unroll 4
    for (int p = 0; p < 4; ++p) sum[p] = V::fma(x, V::load(tile + p * kTileDims + d), sum[p]);
  }
  V::sum4(sum[0], sum[1], sum[2], sum[3], four);
}

// scores[0, n) -> probabilities
inline void softmax(float* scores, std::int64_t n, float scale) {
  float most = scores[0];
  for (std::int64_t i = 1; i < n; ++i) most = scores[i] > most ? scores[i] : most;
  if (scale < 0)
    for (std::int64_t i = 0; i < n; ++i) most = scores[i] < most ? scores[i] : most;
  const V::F factor = V::set1(scale), shift = V::set1(-most * scale);
  V::F sum = V::zero();
  std::int64_t i = 0;
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

// out[0, dims) += sum of weight[p] * tile[p], kVectors vectors at a time
template <int kVectors>
inline void add_positions(const float* weight, std::int64_t positions, const float* tile, float* out) {
  V::F sum[kVectors];
#pragma GCC unroll 8
  for (int i = 0; i < kVectors; ++i) sum[i] = V::load(out + i * V::kLanes);
  for (std::int64_t p = 0; p < positions; ++p) {
    const V::F w = V::set1(weight[p]);
#pragma GCC unroll 8
    for (int i = 0; i < kVectors; ++i) sum[i] = V::fma(w, V::load(tile + p * kTileDims + i * V::kLanes), sum[i]);
  }
#pragma GCC unroll 8
  for (int i = 0; i < kVectors; ++i) V::store(out + i * V::kLanes, sum[i]);
}

inline void add_positions_some(const float* weight, std::int64_t positions, const float* tile, float* out, std::int64_t n) {
  V::F sum = load_some(out, n);
  for (std::int64_t p = 0; p < positions; ++p) sum = V::fma(V::set1(weight[p]), V::load(tile + p * kTileDims), sum);
  store_some(out, sum, n);
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
      for (std::int64_t j = 0; j < n_queries; ++j) {
        for (std::int64_t i = 0; i < kTilePositions && p + i < visible[j]; i += 4) {
          float four[4];
          dot_positions(q + j * ldq + d, tile.value + i * kTileDims, dims, four);
          float* score = scores + j * n + p + i;
          const std::int64_t seen = smaller(4, visible[j] - p - i);
          for (std::int64_t s = 0; s < seen; ++s) score[s] = d == 0 ? four[s] : score[s] + four[s];
        }
      }
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
      for (std::int64_t j = 0; j < n_queries; ++j) {
        const std::int64_t positions = smaller(kTilePositions, visible[j] - p);
        const float* weight = scores + j * n + p;
        float* o = out + j * ldo + d;
        std::int64_t i = 0;
        for (; i + 8 * V::kLanes <= dims; i += 8 * V::kLanes) add_positions<8>(weight, positions, tile.value + i, o + i);
        for (; i + 4 * V::kLanes <= dims; i += 4 * V::kLanes) add_positions<4>(weight, positions, tile.value + i, o + i);
        for (; i < dims; i += V::kLanes) add_positions_some(weight, positions, tile.value + i, o + i, dims - i);
      }
    }
  }
}
