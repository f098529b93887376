// SPDX-License-Identifier: Apache-2.0
// Trees of requests through the layers of the training side, or through the KV cache of the device
// runtime.
#include "verify/likelihoods.h"

#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <map>

#include "checkpoint/checkpoint.h"
#include "core/error.h"
#include "model/forest.h"
#include "model/transformer.h"
#include "runtime/perplexity.h"
#include "verify/divergence.h"

namespace espalier::verify {
namespace {

using tasks::Likelihood;
using tasks::Prediction;
using tasks::Tree;
using torch::Tensor;

std::int64_t size_of(const Tree& tree) { return static_cast<std::int64_t>(tree.ids.size()); }

// Some trees that go through a layer together.
struct Planted {
  model::Forest forest = {};
  std::vector<std::int64_t> ids = {};
  std::map<std::int64_t, std::vector<const Prediction*>> by_row = {};  // rows of the forest
  Tensor states = {};                                                  // [1, T, H]

  void add(const Tree& tree) {
    for (const Prediction& p : tree.predictions) by_row[forest.tokens() + p.row].push_back(&p);
    forest.add({.trunk = tree.trunk, .branches = tree.branches});
    ids.insert(ids.end(), tree.ids.begin(), tree.ids.end());
  }
};

class TrainingSide {
 public:
  TrainingSide(const std::string& path, const MemoryBudget& memory,
               std::vector<Likelihood>& results)
      : path_(path),
        source_(checkpoint::Checkpoint::open(path)),
        model_(model::Transformer::open(source_)),
        chunk_tokens_(memory.buffer_bytes / (4 * source_.dims().hidden)),
        results_(results) {
    if (keeps_output(source_.dims(), memory)) model_.load_output();
  }

  void run(std::span<const Tree> trees, const core::Progress& progress) {
    while (!trees.empty()) {
      std::vector<Planted> chunk;
      const std::size_t n = plant(trees, chunk);
      walk(chunk, [&](int layer) {
        if (progress)
          progress({"tasks", static_cast<std::int64_t>(done_),
                    static_cast<std::int64_t>(done_ + trees.size()), "items",
                    path_ + ": layer " + std::to_string(layer + 1) + " of " +
                        std::to_string(model_.dims().n_layers())});
      });
      for (const Planted& planted : chunk) score(planted);
      done_ += n;
      trees = trees.subspan(n);
    }
  }

 private:
  bool is_long(const Tree& tree) const {
    const arch::LongRope& rope = model_.dims().long_rope;
    return rope.used() && tree.longest() > rope.original_positions;
  }

  // As many trees as the buffer holds, at least one.
  std::size_t plant(std::span<const Tree> trees, std::vector<Planted>& chunk) const {
    std::int64_t tokens = 0;
    std::size_t n = 0;
    for (; n < trees.size(); ++n) {
      const Tree& tree = trees[n];
      tokens += size_of(tree);
      if (n > 0 && tokens > chunk_tokens_) break;
      // Of one forest all texts are long, or none: they rotate otherwise.
      if (n == 0 || chunk.back().forest.tokens() + size_of(tree) > kForestTokens ||
          is_long(tree) != is_long(trees[n - 1]))
        chunk.emplace_back();
      chunk.back().add(tree);
    }
    return n;
  }

  template <typename Told>
  void walk(std::vector<Planted>& chunk, Told&& told) {
    for (Planted& p : chunk) {
      const model::ReadForest reading(p.forest);
      p.states = model_.embed(torch::tensor(p.ids).unsqueeze(0));
    }
    for (int layer = 0; layer < static_cast<int>(model_.dims().n_layers()); ++layer) {
      model_.load_layer(layer);
      for (Planted& p : chunk) {
        const model::ReadForest reading(p.forest);
        p.states = model_.layer(layer, p.states);
      }
      model_.unload_layer(layer);
      told(layer);
    }
  }

  void score(const Planted& planted) {
    std::vector<std::int64_t> rows;
    std::vector<const std::vector<const Prediction*>*> asked;
    for (const auto& [row, predictions] : planted.by_row) {
      rows.push_back(row);
      asked.push_back(&predictions);
    }
    const Tensor hidden = model_.final_norm(planted.states[0].index_select(0, torch::tensor(rows)));
    const std::int64_t n = hidden.size(0), at_once = rows_at_once(model_.dims().vocab);
    for (std::int64_t first = 0; first < n; first += at_once) {
      const std::int64_t some = std::min(at_once, n - first);
      const Tensor logits = model_.logits(hidden.narrow(0, first, some));
      ESP_CHECK(torch::isfinite(logits).all().item<bool>(), input, path_,
                ": the logits are not finite, although the weights are: activations of this task "
                "exceed the range of float32, so that there is no result");
      const Tensor log_q = torch::log_softmax(logits, -1), top = logits.argmax(-1);
      const auto value = log_q.accessor<float, 2>();
      const auto likeliest = top.accessor<std::int64_t, 1>();
      for (std::int64_t i = 0; i < some; ++i)
        for (const Prediction* p : *asked[static_cast<std::size_t>(first + i)]) {
          results_[p->request].log_probability += static_cast<double>(value[i][p->token]);
          results_[p->request].greedy &= likeliest[i] == p->token;
        }
    }
  }

  std::string path_;
  checkpoint::Checkpoint source_;
  model::Transformer model_;
  std::int64_t chunk_tokens_;
  std::vector<Likelihood>& results_;
  std::size_t done_ = 0;
};

class DeviceSide {
 public:
  DeviceSide(const std::string& path, std::int64_t context, const TaskOptions& options,
             std::vector<Likelihood>& results)
      : session_(path, {.threads = options.threads,
                        .context = context,
                        .isa = "",
                        .kv = runtime::SessionOptions::KvType::f16,
                        .packed_file = false,
                        .layer_by_layer = !options.memory.device_whole}),
        results_(results) {}

  void run(std::span<const Tree> trees, const core::Progress& progress) {
    for (std::size_t i = 0; i < trees.size(); ++i) {
      read(trees[i]);
      if (progress)
        progress({"tasks", static_cast<std::int64_t>(i) + 1,
                  static_cast<std::int64_t>(trees.size()), "items", ""});
    }
    session_.check_unchanged();
  }

 private:
  void read(const Tree& tree) {
    std::map<std::int64_t, std::vector<const Prediction*>> by_row;
    for (const Prediction& p : tree.predictions) by_row[p.row].push_back(&p);
    session_.reset();
    rows(tree, 0, tree.trunk, by_row);
    std::int64_t first = tree.trunk;
    for (const std::int64_t n : tree.branches) {
      if (n == 0) continue;
      return_to_trunk(tree);
      rows(tree, first, n, by_row);
      first += n;
    }
  }

  // A window may have passed the end of the trunk.
  void return_to_trunk(const Tree& tree) {
    if (tree.trunk > 0 && session_.earliest_rewind() <= tree.trunk) {
      session_.rewind(tree.trunk);
      return;
    }
    session_.reset();
    rows(tree, 0, tree.trunk, {});
  }

  // Reads n tokens from row `first` on, and scores what is asked of them.
  void rows(const Tree& tree, std::int64_t first, std::int64_t n,
            const std::map<std::int64_t, std::vector<const Prediction*>>& by_row) {
    if (n == 0) return;
    const auto asked = by_row.lower_bound(first);
    const std::int64_t needed = asked == by_row.end() ? n : std::min(n, asked->first - first);
    session_.prefill_scored(
        std::span(tree.ids).subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(n)),
        needed, [&](std::int64_t index, std::span<const float> logits) {
          const auto found = by_row.find(first + index);
          if (found == by_row.end()) return;
          const auto likeliest = std::max_element(logits.begin(), logits.end()) - logits.begin();
          for (const Prediction* p : found->second) {
            results_[p->request].log_probability -=
                runtime::negative_log_likelihood(logits, p->token);
            results_[p->request].greedy &= likeliest == p->token;
          }
        });
  }

  runtime::Session session_;
  std::vector<Likelihood>& results_;
};

}  // namespace

std::vector<Likelihood> likelihoods(const EvalModel& model, std::span<const Tree> trees,
                                    std::size_t n_requests, const TaskOptions& options,
                                    const core::Progress& progress) {
  c10::InferenceMode inference;
  std::vector<Likelihood> out(n_requests);
  if (model.engine == Engine::training) {
    TrainingSide(model.path, options.memory, out).run(trees, progress);
    return out;
  }
  std::int64_t longest = 1;
  for (const Tree& tree : trees) longest = std::max(longest, tree.longest());
  DeviceSide(model.path, longest, options, out).run(trees, progress);
  return out;
}

}  // namespace espalier::verify
