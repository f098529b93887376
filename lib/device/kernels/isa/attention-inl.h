// SPDX-License-Identifier: Apache-2.0
// softmax(q k^T * scale) v for queries that share a KV head. Included inside an unnamed namespace
// after V, tails-inl.h, steps-inl.h, kv-inl.h.
#include "kernels/isa/attention_tile-inl.h"
#include "kernels/isa/attention_few-inl.h"
#include "kernels/isa/attention_block-inl.h"

template <typename Row>
void attention(const float* q, std::int64_t ldq, const std::int64_t* visible,
               std::int64_t n_queries, const void* keys, const void* values, std::int64_t stride,
               std::int64_t head_dim, float scale, float cap, float* scores, float* out,
               std::int64_t ldo) {
  std::int64_t n = 0;
  for (std::int64_t j = 0; j < n_queries; ++j) n = visible[j] > n ? visible[j] : n;
  const KvRows k{static_cast<const unsigned char*>(keys), stride, n, head_dim, read_tile<Row>};
  const KvRows v{static_cast<const unsigned char*>(values), stride, n, head_dim, read_tile<Row>};
  if (n_queries == kBlockQueries && n > 0)
    attend_block(q, ldq, visible, k, v, scale, cap, scores, out, ldo);
  else
    attend_few(q, ldq, visible, n_queries, k, v, scale, cap, scores, out, ldo);
}
