// SPDX-License-Identifier: Apache-2.0
// One token of a group of sequences at a time, with the keys and values of those before. The steps
// have the names of forward.cpp. Groups read one model at once, by functions that change nothing in
// it.
#include "model/write_text.h"

#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "core/rng.h"
#include "model/ops/operations.h"

namespace espalier::model {
namespace {

using arch::Axis;
using arch::Role;
using torch::Tensor;

constexpr std::int64_t kGroup = 32;  // sequences

struct Rotation {
  Tensor cosine, sine;  // [length, R/2]
};

Rotation rotation(const arch::ModelDims& dims, bool local, std::int64_t length) {
  const bool long_text = dims.long_rope.used() && length > dims.long_rope.original_positions;
  const Tensor angles = torch::outer(
      torch::arange(length, torch::kFloat64),
      torch::tensor(arch::rope_inverse_frequencies(dims, local && !long_text, long_text),
                    torch::kFloat64));
  const double factor = dims.long_rope.attention_factor;
  return {(angles.cos() * factor).to(torch::kFloat32), (angles.sin() * factor).to(torch::kFloat32)};
}

class Group {
 public:
  Group(const Transformer& model, std::int64_t sequences, std::int64_t length)
      : model_(model),
        ops_(operations(torch::kCPU)),
        sequences_(sequences),
        global_(rotation(model.dims(), false, length)),
        local_(rotation(model.dims(), true, length)) {
    for (const arch::LayerDims& l : model.dims().layers) {
      const std::vector<std::int64_t> size{sequences, l[Axis::kv_groups], length,
                                           model.dims().head_dim};
      keys_.push_back(torch::empty(size));
      values_.push_back(torch::empty(size));
    }
  }

  // The logits [sequences, V] behind ids [sequences, 1] at this position.
  Tensor step(const Tensor& ids, std::int64_t position) {
    const arch::ModelDims& dims = model_.dims();
    const bool learned = arch::learned_positions(model_.arch());
    Tensor x = model_.embed(ids);
    // embed() takes every text to begin at position 0.
    if (learned) {
      const Tensor& table = model_.weight(Role::pos_embd, -1);
      x = x + arch::embedding_factor(model_.arch(), dims) *
                  (table.narrow(0, position, 1) - table.narrow(0, 0, 1));
    }
    for (int l = 0; l < static_cast<int>(dims.n_layers()); ++l)
      for (const arch::Block& block : model_.arch().blocks) {
        if (!block.in(dims.layers[static_cast<std::size_t>(l)])) continue;
        const Tensor a = block.kind == arch::BlockKind::attention ? mix(block, l, x, position)
                                                                  : model_.activation(block, l, x);
        x = x + model_.output(block, l, a);
      }
    return model_.logits(model_.final_norm(x)).squeeze(1);
  }

 private:
  Tensor with_bias(const Tensor& product, Role role, int layer) const {
    const auto bias = arch::bias_of(role);
    return bias && model_.has(*bias, layer) ? product + model_.weight(*bias, layer) : product;
  }

  // What the consumer of an attention block reads, [sequences, 1, N D].
  Tensor mix(const arch::Block& block, int l, const Tensor& x, std::int64_t position) {
    const auto index = static_cast<std::size_t>(l);
    const arch::ModelDims& dims = model_.dims();
    const arch::LayerDims& size = dims.layers[index];
    const std::int64_t D = dims.head_dim, K = size[Axis::kv_groups], N = size.heads();
    const Tensor h = model_.norm(block.norm, l, x);
    std::vector<Tensor> matrices;
    for (const Role role : block.readers) matrices.push_back(model_.weight(role, l));
    std::vector<Tensor> read = ops_.linears(h, matrices, torch::kFloat32);
    std::size_t i = 0;
    for (const Role role : block.readers) {
      read[i] = with_bias(read[i], role, l);
      ++i;
    }
    if (read.size() == 1) read = read[0].split_with_sizes({N * D, K * D, K * D}, -1);
    Tensor q = read[0].unflatten(-1, {N, D}), k = read[1].unflatten(-1, {K, D}),
           v = read[2].unflatten(-1, {K, D});
    if (model_.has(Role::attn_q_norm, l)) {
      q = model_.norm(Role::attn_q_norm, l, q);
      k = model_.norm(Role::attn_k_norm, l, k);
    }
    if (size.rope) {
      const Rotation& r = size.local ? local_ : global_;
      const Tensor cosine = r.cosine.narrow(0, position, 1), sine = r.sine.narrow(0, position, 1);
      q = ops_.rotate(q.contiguous(), cosine, sine);
      k = ops_.rotate(k.contiguous(), cosine, sine);
    }
    keys_[index].select(2, position).copy_(k.squeeze(1));
    values_[index].select(2, position).copy_(v.squeeze(1));
    return attend(index, q, position).reshape({sequences_, 1, N * D});
  }

  Tensor attend(std::size_t index, const Tensor& q, std::int64_t position) const {
    const arch::ModelDims& dims = model_.dims();
    const arch::LayerDims& size = dims.layers[index];
    const std::int64_t n =
        size.local && dims.window > 0 ? std::min(position + 1, dims.window) : position + 1;
    const Tensor keys = keys_[index].narrow(2, position + 1 - n, n),
                 values = values_[index].narrow(2, position + 1 - n, n);
    Tensor scores =
        q.reshape({sequences_, size[Axis::kv_groups], size[Axis::q_per_kv], dims.head_dim})
            .matmul(keys.transpose(-1, -2)) *
        arch::attention_scale(dims);
    if (dims.attention_softcap > 0)
      scores = (scores / dims.attention_softcap).tanh() * dims.attention_softcap;
    return torch::softmax(scores, -1).matmul(values);
  }

  const Transformer& model_;
  const Operations& ops_;
  std::int64_t sequences_;
  Rotation global_, local_;
  std::vector<Tensor> keys_, values_;  // of each layer: [sequences, K, length, D]
};

// One draw for each row of logits [n, V], from the streams of the sequences `first`, ...
Tensor draw(const Tensor& logits, std::uint64_t seed, std::int64_t first, std::int64_t position) {
  const std::int64_t n = logits.size(0);
  const Tensor sums = torch::softmax(logits, -1).cumsum(-1, torch::kFloat64);
  const Tensor chance = torch::empty({n, 1}, torch::kFloat64);
  for (std::int64_t i = 0; i < n; ++i) {
    core::Rng stream(seed, static_cast<std::uint64_t>(first + i));
    stream.seek(static_cast<std::uint64_t>(position));
    chance.mutable_data_ptr<double>()[i] = stream.uniform();
  }
  return torch::searchsorted(sums, chance * sums.narrow(1, sums.size(1) - 1, 1), false, true)
      .clamp_max(sums.size(1) - 1);
}

void write_group(const Transformer& model, const WrittenText& o, std::int64_t first, Tensor ids) {
  const c10::InferenceMode inference;
  Group group(model, ids.size(0), o.length);
  ids.select(1, 0).fill_(o.first);
  for (std::int64_t t = 0; t + 1 < o.length; ++t) {
    const Tensor now = ids.narrow(1, t, 1);
    Tensor next = draw(group.step(now, t), o.seed, first, t);
    if (o.end) next = torch::where(now == *o.end, torch::full_like(next, o.first), next);
    ids.narrow(1, t + 1, 1).copy_(next);
  }
}

}  // namespace

Tensor write_text(const Transformer& model, const WrittenText& o) {
  const c10::InferenceMode inference;
  Tensor ids = torch::empty({o.sequences, o.length}, torch::kInt64);
  const std::int64_t groups = (o.sequences + kGroup - 1) / kGroup;
  const auto write = [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t g = begin; g < end; ++g) {
      const std::int64_t first = g * kGroup;
      write_group(model, o, first, ids.narrow(0, first, std::min(kGroup, o.sequences - first)));
    }
  };
  // A group by itself would use all threads, and sums would round differently.
  const int threads = at::get_num_threads();
  if (groups == 1) at::set_num_threads(1);
  at::parallel_for(0, groups, 1, write);
  if (groups == 1) at::set_num_threads(threads);
  return ids;
}

std::int64_t write_text_bytes(const arch::Arch& arch, const arch::ModelDims& dims,
                              const WrittenText& o, int threads) {
  std::int64_t kept = 0;
  for (const arch::LayerDims& l : dims.layers) kept += 2 * l[Axis::kv_groups] * dims.head_dim;
  const std::int64_t at_once = std::min<std::int64_t>(o.sequences, threads * kGroup);
  return 4 * (arch::parameters(arch, dims) + at_once * (o.length * kept + 4 * dims.vocab));
}

}  // namespace espalier::model
