// SPDX-License-Identifier: Apache-2.0
// The decoder's forward pass over a KV cache. forward.cpp reads top to bottom and mirrors
// model/forward.cpp step by step. Steps that can be tapped have the same names there. After
// construction nothing allocates, and without a tap nothing throws, unless layers are loaded as
// they are needed.
#pragma once
#include <atomic>
#include <cstdint>
#include <initializer_list>
#include <span>

#include "core/thread_pool.h"
#include "kernels/linear.h"
#include "runtime/buffer.h"
#include "runtime/kv_cache.h"
#include "runtime/session.h"
#include "runtime/weights.h"

namespace espalier::runtime {

class Forward {
 public:
  // Keeps references to all four arguments.
  Forward(Weights& weights, KvCache& cache, const kernels::KernelTable& table,
          core::ThreadPool& pool);

  std::int64_t max_tokens() const { return max_tokens_; }
  std::int64_t scratch_bytes() const;  // of all buffers after a prefill
  // Appends tokens and computes the residual stream of those from `first_needed` on, for which
  // logits() may be called. There are at most max_tokens() tokens, their ids are in range, and the
  // cache has room. `tap` may be null. It sees every token, whatever `first_needed` says.
  void run(std::span<const std::int32_t> tokens, std::int64_t first_needed,
           const Session::Tap* tap);
  // The logits [n, V] of tokens [first, first + n) of the last run().
  void logits(std::int64_t first, std::int64_t n, float* out_TV, const Session::Tap* tap);

 private:
  struct Step;  // what the steps of one run() share
  void embed(const Step& step);
  void rotations(const Step& step);
  void attention(const Step& step, int layer, const BlockWeights& w, std::int64_t from);
  void attend(const Step& step, int layer, std::int64_t from);
  void attend_window(int layer, std::int64_t group, std::int64_t window,
                     kernels::AttentionQueries queries, std::int64_t* visible);
  void feed_forward(const Step& step, int layer, const BlockWeights& w, std::int64_t from);
  void norm(const float* x_TH, const std::vector<float>& gain_H, const std::vector<float>& bias_H,
            std::int64_t from, std::int64_t to, float* out_TH);
  struct Product {
    const kernels::Matrix* w;
    float* y;
  };
  void linear(std::initializer_list<Product> products);  // at most three
  void add_bias(const std::vector<float>& bias, std::int64_t from, std::int64_t to, float* y);
  void add_branch(const BlockWeights& w, std::int64_t from, std::int64_t to);
  template <typename F>
  void each_token(std::int64_t from, std::int64_t to, F&& f);

  Weights& weights_;
  KvCache& cache_;
  const kernels::KernelTable& table_;
  const kernels::StepKernels& steps_;
  core::ThreadPool& pool_;

  bool interleaved_;  // layout of the rotary pairs of q and k
  std::int64_t max_tokens_;
  kernels::Activations activations_;
  Buffer<float> x_TH_;                   // the residual stream
  Buffer<float> normed_TH_, branch_TH_;  // input and output of a block
  Buffer<float> q_TND_, k_TKD_, v_TKD_, mix_TND_;
  Buffer<float> gate_TF_, up_TF_;
  struct Rotation {
    // [T, R/2] for the tokens of a run, R = rotated values of a head.
    Buffer<float> cos_TR, sin_TR;
  };
  Rotation global_rotation_, local_rotation_;  // local: windowed layers, when their base differs
  Buffer<float> scores_;                       // scores of one block of queries per worker
  std::atomic<std::int64_t> next_item_{0};
};

}  // namespace espalier::runtime
