// SPDX-License-Identifier: Apache-2.0
// The forward pass.
//
//   x = embedding
//   for each block of each layer:
//     attention:  x += attn_output(attention(attn_norm(x)))
//     FFN:        x += ffn_down(act(gate) * up)(ffn_norm(x)), without a gate: ffn_down(act(up))
//   logits = output(output_norm(x))
//
// Where the model has them: biases, norms over heads and over the output of a block, a factor on
// what a block adds, soft-caps, windows.
//
// Legend: T tokens of this run, H hidden, F ffn, V vocab, N q-heads, K kv-groups, D head_dim. All
// buffers are row-major with one row per token. Threads split rows of weights (in linear()),
// tokens, or attention heads. Each value is computed by one thread in one order.
#include "runtime/forward.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace espalier::runtime {
namespace {

// Large enough that weights are rarely unpacked, and small enough for L2.
constexpr std::int64_t kMaxTokens = 128;
// A model with huge rows reads fewer tokens at a time.
constexpr std::int64_t kScratchBytes = std::int64_t{256} << 20;
// Queries that share one pass over keys and values. The kernels are fastest with 16.
constexpr std::int64_t kQueryBlock = 16;
// Below this number of multiply-adds, waking the workers costs more than it saves.
constexpr std::int64_t kSerialWork = 16384;

std::int64_t widest(const arch::ModelDims& dims, std::int64_t (*size)(const arch::LayerDims&)) {
  std::int64_t n = 0;
  for (const arch::LayerDims& l : dims.layers) n = std::max(n, size(l));
  return n;
}
std::int64_t max_heads(const arch::ModelDims& d) {
  return widest(d, [](const arch::LayerDims& l) { return l.heads(); });
}
std::int64_t max_groups(const arch::ModelDims& d) {
  return widest(d, [](const arch::LayerDims& l) { return l[arch::Axis::kv_groups]; });
}
std::int64_t max_ffn(const arch::ModelDims& d) {
  return widest(d, [](const arch::LayerDims& l) { return l[arch::Axis::ffn]; });
}
// The first block behind which no token reads another.
std::size_t behind_attention(const std::vector<BlockWeights>& blocks) {
  std::size_t behind = 0;
  for (std::size_t i = 0; i < blocks.size(); ++i)
    if (std::holds_alternative<AttentionReaders>(blocks[i].readers)) behind = i + 1;
  return behind;
}
std::int64_t tokens_at_a_time(const arch::ModelDims& d, std::int64_t context) {
  const std::int64_t floats = 3 * d.hidden + 2 * max_heads(d) * d.head_dim +
                              2 * max_groups(d) * d.head_dim + 2 * max_ffn(d) + d.head_dim;
  const std::int64_t fit = kScratchBytes / (floats * static_cast<std::int64_t>(sizeof(float)));
  return std::clamp<std::int64_t>(fit, 1, std::min(kMaxTokens, context));
}

}  // namespace

struct Forward::Step {
  std::span<const std::int32_t> tokens;
  std::int64_t n;         // T
  std::int64_t position;  // position of the first token in the cache
  const Session::Tap* tap;

  void report(const char* name, int layer, const float* values, std::int64_t n_tokens,
              std::int64_t width) const {
    if (tap != nullptr)
      (*tap)(name, layer, {values, static_cast<std::size_t>(n_tokens * width)}, n_tokens);
  }
};

Forward::Forward(Weights& weights, KvCache& cache, const kernels::KernelTable& table,
                 core::ThreadPool& pool)
    : weights_(weights),
      cache_(cache),
      table_(table),
      steps_(kernels::steps(table)),
      pool_(pool),
      interleaved_(arch::interleaved_in_gguf(*weights.arch)),
      max_tokens_(tokens_at_a_time(weights.dims, cache.context())),
      activations_(max_tokens_,
                   std::max({weights.dims.hidden, max_heads(weights.dims) * weights.dims.head_dim,
                             max_ffn(weights.dims)})) {
  const arch::ModelDims& d = weights.dims;
  const std::int64_t n = max_tokens_;
  x_TH_ = Buffer<float>(n * d.hidden);
  normed_TH_ = Buffer<float>(n * d.hidden);
  branch_TH_ = Buffer<float>(n * d.hidden);
  q_TND_ = Buffer<float>(n * max_heads(d) * d.head_dim);
  mix_TND_ = Buffer<float>(n * max_heads(d) * d.head_dim);
  k_TKD_ = Buffer<float>(n * max_groups(d) * d.head_dim);
  v_TKD_ = Buffer<float>(n * max_groups(d) * d.head_dim);
  gate_TF_ = Buffer<float>(n * max_ffn(d));
  up_TF_ = Buffer<float>(n * max_ffn(d));
  for (Rotation* r : {&global_rotation_, &local_rotation_}) {
    r->cos_TR = Buffer<float>(n * d.head_dim / 2);
    r->sin_TR = Buffer<float>(n * d.head_dim / 2);
  }
  scores_ = Buffer<float>(pool.size() * kQueryBlock * cache.context());
}

std::int64_t Forward::scratch_bytes() const {
  std::int64_t sum = activations_.bytes();
  for (const Buffer<float>* b :
       {&x_TH_, &normed_TH_, &branch_TH_, &q_TND_, &k_TKD_, &v_TKD_, &mix_TND_, &gate_TF_, &up_TF_,
        &global_rotation_.cos_TR, &global_rotation_.sin_TR, &local_rotation_.cos_TR,
        &local_rotation_.sin_TR, &scores_})
    sum += b->bytes();
  return sum;
}

// Calls f(t) for tokens [from, to). A single token stays on the calling thread.
template <typename F>
void Forward::each_token(std::int64_t from, std::int64_t to, F&& f) {
  if (to - from == 1) {
    f(from);
    return;
  }
  pool_.split(to - from, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t t = from + begin; t < from + end; ++t) f(t);
  });
}

void Forward::run(std::span<const std::int32_t> tokens, std::int64_t first_needed,
                  const Session::Tap* tap) {
  const Step step{.tokens = tokens,
                  .n = static_cast<std::int64_t>(tokens.size()),
                  .position = cache_.position(),
                  .tap = tap};
  const std::int64_t H = weights_.dims.hidden;
  const int last = static_cast<int>(weights_.dims.n_layers()) - 1;
  embed(step);
  rotations(step);
  for (int layer = 0; layer <= last; ++layer) {
    const std::vector<BlockWeights>& blocks = weights_.layer(layer).blocks;
    const std::size_t alone = behind_attention(blocks);
    step.report("layer_in", layer, x_TH_.data(), step.n, H);
    for (std::size_t i = 0; i < blocks.size(); ++i) {
      // Only the needed tokens of the last layer are read. The other tokens are done once their
      // last keys and values are stored.
      const bool partly = layer == last && tap == nullptr && i + 1 >= alone;
      const std::int64_t from = partly ? first_needed : 0;
      if (std::holds_alternative<AttentionReaders>(blocks[i].readers))
        attention(step, layer, blocks[i], from);
      else
        feed_forward(step, layer, blocks[i], from);
    }
    step.report("layer_out", layer, x_TH_.data(), step.n, H);
  }
  cache_.advance(step.n);
}

void Forward::logits(std::int64_t first, std::int64_t n, float* out_TV, const Session::Tap* tap) {
  const std::int64_t H = weights_.dims.hidden;
  norm(x_TH_.data(), weights_.output_norm_H, weights_.output_norm_bias_H, first, first + n,
       normed_TH_.data());
  const float* normed = normed_TH_.data() + first * H;
  if (tap != nullptr) (*tap)("output_norm", -1, {normed, static_cast<std::size_t>(n * H)}, n);
  activations_.set(normed, n, H);
  linear({{&weights_.output, out_TV}});
  const float cap = static_cast<float>(weights_.dims.logit_softcap);
  if (cap > 0)
    each_token(0, n, [&](std::int64_t t) {
      steps_.soft_cap(out_TV + t * weights_.dims.vocab, 1, cap, weights_.dims.vocab);
    });
}

void Forward::embed(const Step& step) {
  const std::int64_t H = weights_.dims.hidden;
  each_token(0, step.n, [&](std::int64_t t) {
    weights_.embed(step.tokens[static_cast<std::size_t>(t)], step.position + t,
                   x_TH_.data() + t * H);
  });
}

// Cosines and sines for the positions of this run. They are the same in all layers of a kind.
void Forward::rotations(const Step& step) {
  const std::int64_t half = weights_.dims.rotated() / 2;
  const arch::LongRope& stretched = weights_.dims.long_rope;
  const auto fill = [&](Rotation& out, const std::vector<double>& frequencies) {
    each_token(0, step.n, [&](std::int64_t t) {
      for (std::int64_t i = 0; i < half; ++i) {
        const double angle =
            static_cast<double>(step.position + t) * frequencies[static_cast<std::size_t>(i)];
        out.cos_TR.data()[t * half + i] =
            static_cast<float>(std::cos(angle) * stretched.attention_factor);
        out.sin_TR.data()[t * half + i] =
            static_cast<float>(std::sin(angle) * stretched.attention_factor);
      }
    });
  };
  if (arch::learned_positions(*weights_.arch)) return;
  // Fixed for the life of the cache: keys and queries must be rotated alike.
  const bool long_text = stretched.used() && cache_.context() > stretched.original_positions;
  fill(global_rotation_,
       long_text ? weights_.long_text_inverse_frequencies : weights_.inverse_frequencies);
  if (weights_.dims.local_rope_theta > 0) fill(local_rotation_, weights_.local_inverse_frequencies);
}

void Forward::attention(const Step& step, int layer, const BlockWeights& w, std::int64_t from) {
  const AttentionReaders& read = std::get<AttentionReaders>(w.readers);
  const arch::LayerDims& dims = weights_.dims.layers[static_cast<std::size_t>(layer)];
  const std::int64_t H = weights_.dims.hidden, D = weights_.dims.head_dim,
                     R = weights_.dims.rotated();
  const std::int64_t K = dims[arch::Axis::kv_groups], N = K * dims[arch::Axis::q_per_kv];
  const std::int64_t n = step.n;

  norm(x_TH_.data(), w.norm_H, w.norm_bias_H, 0, n, normed_TH_.data());
  step.report("attn_in", layer, normed_TH_.data(), n, H);

  activations_.set(normed_TH_.data(), n, H);
  if (from == 0) {
    linear({{&read.q.matrix, q_TND_.data()},
            {&read.k.matrix, k_TKD_.data()},
            {&read.v.matrix, v_TKD_.data()}});
  } else {
    linear({{&read.k.matrix, k_TKD_.data()}, {&read.v.matrix, v_TKD_.data()}});
    if (from < n) activations_.set(normed_TH_.data() + from * H, n - from, H);
    if (from < n) linear({{&read.q.matrix, q_TND_.data() + from * N * D}});
  }

  add_bias(read.k.bias, 0, n, k_TKD_.data());
  add_bias(read.v.bias, 0, n, v_TKD_.data());
  add_bias(read.q.bias, from, n, q_TND_.data());

  const Rotation& turn =
      dims.local && weights_.dims.local_rope_theta > 0 ? local_rotation_ : global_rotation_;
  const auto rope = interleaved_ ? steps_.rope_interleaved : steps_.rope_half_split;
  const float eps = static_cast<float>(weights_.dims.norm_eps);
  each_token(0, n, [&](std::int64_t t) {
    const float *c = turn.cos_TR.data() + t * (R / 2), *s = turn.sin_TR.data() + t * (R / 2);
    const auto place = [&](float* head, const std::vector<float>& gain_D) {
      if (!gain_D.empty()) steps_.rms_norm(head, gain_D.data(), eps, D, head);
      if (dims.rope) rope(head, c, s, R);
    };
    for (std::int64_t g = 0; g < K; ++g) {
      float* k = k_TKD_.data() + (t * K + g) * D;
      place(k, read.k_norm_D);
      cache_.store(layer, g, step.position + t, k, v_TKD_.data() + (t * K + g) * D, steps_);
    }
    if (t < from) return;
    for (std::int64_t head = 0; head < N; ++head)
      place(q_TND_.data() + (t * N + head) * D, read.q_norm_D);
  });
  if (from == n) return;
  attend(step, layer, from);
  step.report("attn_mix", layer, mix_TND_.data(), n, N * D);

  activations_.set(mix_TND_.data() + from * N * D, n - from, N * D);
  linear({{&w.consumer.matrix, branch_TH_.data() + from * H}});
  add_branch(w, from, n);
  step.report("attn_out", layer, branch_TH_.data(), n, H);
}

// Attention of queries that see the positions before visible[j], at most `window` of them.
// Overwrites `visible`.
void Forward::attend_window(int layer, std::int64_t group, std::int64_t window,
                            kernels::AttentionQueries queries, std::int64_t* visible) {
  const std::int64_t n = queries.n;
  queries.visible = visible;
  if (visible[n - 1] <= window || visible[0] == visible[n - 1]) {
    const std::int64_t hidden = std::max<std::int64_t>(0, visible[0] - window);
    for (std::int64_t j = 0; hidden > 0 && j < n; ++j) visible[j] -= hidden;
    cache_.attend(layer, group, hidden, queries, steps_);
    return;
  }
  // The window of every query begins elsewhere.
  queries.n = 1;
  for (std::int64_t j = 0; j < n; ++j) {
    const std::int64_t hidden = std::max<std::int64_t>(0, visible[j] - window);
    visible[j] -= hidden;
    cache_.attend(layer, group, hidden, queries, steps_);
    queries.q += queries.ldq;
    queries.out += queries.ldo;
    ++queries.visible;
  }
}

// mix = softmax(scale q k^T) v for tokens [from, T). Workers take items one after another. An item
// is one head and a block of queries. For a single token, an item is all heads of one group.
void Forward::attend(const Step& step, int layer, std::int64_t from) {
  const arch::LayerDims& dims = weights_.dims.layers[static_cast<std::size_t>(layer)];
  const std::int64_t D = weights_.dims.head_dim, N = dims.heads();
  const std::int64_t n = step.n - from;
  const float scale = static_cast<float>(arch::attention_scale(weights_.dims)),
              cap = static_cast<float>(weights_.dims.attention_softcap);
  const std::int64_t window =
      dims.local ? weights_.dims.window : std::numeric_limits<std::int64_t>::max();
  const bool whole_groups = n == 1 && dims[arch::Axis::q_per_kv] <= kQueryBlock;
  const std::int64_t lanes = whole_groups ? dims[arch::Axis::kv_groups] : N;
  const std::int64_t blocks = (n + kQueryBlock - 1) / kQueryBlock;

  const auto item = [&](std::int64_t index, int worker) {
    const std::int64_t lane = index % lanes;
    const std::int64_t block = blocks - 1 - index / lanes;  // the longest block first
    const std::int64_t first = from + block * kQueryBlock;
    const std::int64_t head = whole_groups ? lane * dims[arch::Axis::q_per_kv] : lane;
    const std::int64_t n_queries =
        whole_groups ? dims[arch::Axis::q_per_kv] : std::min(kQueryBlock, step.n - first);
    std::int64_t visible[kQueryBlock];
    for (std::int64_t j = 0; j < n_queries; ++j)
      visible[j] = step.position + first + (whole_groups ? 0 : j) + 1;
    const std::int64_t stride = whole_groups ? D : N * D, at = (first * N + head) * D;
    attend_window(layer, head / dims[arch::Axis::q_per_kv], window,
                  {.q = q_TND_.data() + at,
                   .ldq = stride,
                   .n = n_queries,
                   .visible = visible,
                   .scale = scale,
                   .cap = cap,
                   .scores = scores_.data() + worker * kQueryBlock * cache_.context(),
                   .out = mix_TND_.data() + at,
                   .ldo = stride},
                  visible);
  };

  const std::int64_t items = lanes * blocks;
  if (n * N * D * (step.position + step.n) < kSerialWork) {
    for (std::int64_t i = 0; i < items; ++i) item(i, 0);
    return;
  }
  next_item_.store(0, std::memory_order_relaxed);
  pool_.run([&](int worker, int) {
    for (std::int64_t i; (i = next_item_.fetch_add(1, std::memory_order_relaxed)) < items;)
      item(i, worker);
  });
}

void Forward::feed_forward(const Step& step, int layer, const BlockWeights& w, std::int64_t from) {
  const FfnReaders& read = std::get<FfnReaders>(w.readers);
  const std::int64_t H = weights_.dims.hidden,
                     F = weights_.dims.layers[static_cast<std::size_t>(layer)][arch::Axis::ffn];
  const std::int64_t n = step.n;
  if (from == n) return;

  norm(x_TH_.data(), w.norm_H, w.norm_bias_H, from, n, normed_TH_.data());
  step.report("ffn_in", layer, normed_TH_.data(), n, H);

  float *gate = gate_TF_.data() + from * F, *up = up_TF_.data() + from * F;
  activations_.set(normed_TH_.data() + from * H, n - from, H);
  if (arch::has_gate(weights_.arch->activation))
    linear({{&read.gate.matrix, gate}, {&read.up.matrix, up}});
  else
    linear({{&read.up.matrix, up}});
  add_bias(read.gate.bias, from, n, gate_TF_.data());
  add_bias(read.up.bias, from, n, up_TF_.data());
  // The result replaces the factor `up`.
  const auto activate = [&](std::int64_t begin, std::int64_t end) {
    switch (weights_.arch->activation) {
      case arch::Activation::swiglu:
        return steps_.silu_mul(gate + begin, up + begin, end - begin, up + begin);
      case arch::Activation::geglu:
        return steps_.gelu_mul(gate + begin, up + begin, end - begin, up + begin);
      case arch::Activation::relu_squared:
        return steps_.relu_squared(end - begin, up + begin);
      case arch::Activation::gelu:
        return steps_.gelu(end - begin, up + begin);
    }
  };
  const std::int64_t values = (n - from) * F;
  if (values < kSerialWork / 4) activate(0, values);
  // Shares are whole cache lines. The arithmetic of a value does not depend on where a share
  // begins.
  else
    pool_.split(values, 64, activate);
  step.report("ffn_act", layer, up_TF_.data(), n, F);

  activations_.set(up, n - from, F);
  linear({{&w.consumer.matrix, branch_TH_.data() + from * H}});
  add_branch(w, from, n);
  step.report("ffn_out", layer, branch_TH_.data(), n, H);
}

void Forward::norm(const float* x_TH, const std::vector<float>& gain_H,
                   const std::vector<float>& bias_H, std::int64_t from, std::int64_t to,
                   float* out_TH) {
  const std::int64_t H = weights_.dims.hidden;
  const float eps = static_cast<float>(weights_.dims.norm_eps);
  each_token(from, to, [&](std::int64_t t) {
    switch (weights_.arch->norm) {
      case arch::Norm::rms:
      // A file stores complete gains, so both cases are alike.
      case arch::Norm::rms_plus_one:
        return steps_.rms_norm(x_TH + t * H, gain_H.data(), eps, H, out_TH + t * H);
      case arch::Norm::layer:
      case arch::Norm::layer_plus_one:
        return steps_.layer_norm(x_TH + t * H, gain_H.data(), bias_H.data(), eps, H,
                                 out_TH + t * H);
    }
  });
}

// y is [T, length of the bias].
void Forward::add_bias(const std::vector<float>& bias, std::int64_t from, std::int64_t to,
                       float* y) {
  const auto width = static_cast<std::int64_t>(bias.size());
  if (width > 0)
    each_token(from, to, [&](std::int64_t t) { steps_.add(bias.data(), width, y + t * width); });
}

// branch = factor * norm_behind(branch + bias), x += branch
void Forward::add_branch(const BlockWeights& w, std::int64_t from, std::int64_t to) {
  const std::int64_t H = weights_.dims.hidden;
  const float factor = static_cast<float>(weights_.dims.residual_factor);
  add_bias(w.consumer.bias, from, to, branch_TH_.data());
  if (!w.norm_behind_H.empty())
    norm(branch_TH_.data(), w.norm_behind_H, {}, from, to, branch_TH_.data());
  each_token(from, to, [&](std::int64_t t) {
    float* branch = branch_TH_.data() + t * H;
    if (factor != 1)
      for (std::int64_t i = 0; i < H; ++i) branch[i] *= factor;
    steps_.add(branch, H, x_TH_.data() + t * H);
  });
}

// y = activations W^T for each product, with contiguous rows of y.
void Forward::linear(std::initializer_list<Product> products) {
  kernels::Product all[3];
  std::size_t n = 0;
  for (const Product& p : products) all[n++] = {p.w, p.y, p.w->rows()};
  kernels::linear(table_, {all, n}, activations_, pool_);
}

}  // namespace espalier::runtime
