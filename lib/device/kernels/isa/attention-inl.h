// SPDX-License-Identifier: Apache-2.0
// softmax(q k^T * scale) v for queries that share a KV head. Included inside an unnamed namespace
// after V, tails-inl.h, steps-inl.h, kv-inl.h.
#include "kernels/isa/attention_tile-inl.h"
#include "kernels/isa/attention_few-inl.h"
#include "kernels/isa/attention_block-inl.h"

template <typename Row>
void attention(const AttentionQueries& of, const KvCached& cached) {
  std::int64_t n = 0;
  for (std::int64_t j = 0; j < of.n; ++j) n = of.visible[j] > n ? of.visible[j] : n;
  const KvRows k{static_cast<const unsigned char*>(cached.k), cached.stride, n, cached.head_dim,
                 read_tile<Row>};
  const KvRows v{static_cast<const unsigned char*>(cached.v), cached.stride, n, cached.head_dim,
                 read_tile<Row>};
  if (of.n == kBlockQueries && n > 0)
    attend_block(of.q, of.ldq, of.visible, k, v, of.scale, of.cap, of.scores, of.out, of.ldo);
  else
    attend_few(of.q, of.ldq, of.visible, of.n, k, v, of.scale, of.cap, of.scores, of.out, of.ldo);
}
