// SPDX-License-Identifier: Apache-2.0
// The walk gives the states of a whole forward pass, in any granularity, for models in memory and
// on disk, and shows each visitor each value once.
#include "layerwise/walk.h"

#include <gtest/gtest.h>

#include <map>

#include "support/temp_dir.h"
#include "support/tiny_model.h"

namespace espalier::layerwise {
namespace {

using model::Tap;
using torch::Tensor;

struct Fixture {
  support::TempDir dir;
  checkpoint::Checkpoint source = checkpoint::Checkpoint::open(
      support::write_tiny_llama(dir.file("model"), {.layers = 3, .ffn = 72}));
  model::Transformer model = model::Transformer::load(source, {});
  Tensor ids = [] {
    torch::manual_seed(4);
    return torch::randint(300, {7, 20}, torch::kInt64);
  }();
};

struct Watcher : Visitor {
  bool blocks = false;
  std::map<std::tuple<Tap, int, std::int64_t>, int> seen;
  std::vector<int> begun, ended;
  std::size_t blocks_ended = 0;
  std::int64_t windows_in_memory = 0;
  bool by_block() const override { return blocks; }
  void begin(model::Transformer&, const Tensor& ids, const Stream& stream) override {
    windows_in_memory = stream.states.size(0);
    EXPECT_EQ(ids.size(0), windows_in_memory);
  }
  void layer_begin(model::Transformer& model, int layer) override {
    EXPECT_TRUE(model.has(arch::Role::attn_q, layer));
    begun.push_back(layer);
  }
  void see(Tap point, int layer, std::int64_t batch, const Tensor& value) override {
    EXPECT_EQ(value.size(1), 20);
    ++seen[{point, layer, batch}];
  }
  void block_end(model::Transformer&, int, const model::Block&, const Stream&) override {
    ++blocks_ended;
  }
  void layer_end(model::Transformer& model, int layer, const Stream&) override {
    EXPECT_TRUE(model.has(arch::Role::attn_q, layer));
    ended.push_back(layer);
  }
};

TEST(Walk, GivesTheStatesOfAForwardPass) {
  const torch::InferenceMode inference;
  Fixture f;
  const Tensor expected = f.model.hidden(f.ids);
  for (const bool blocks : {false, true})
    for (const bool on_disk : {false, true}) {
      Watcher watcher;
      watcher.blocks = blocks;
      Walk walk(on_disk ? model::Transformer::open(f.source) : f.model, f.ids, {&watcher},
                {.batch_tokens = 60});
      EXPECT_EQ(walk.stream().batches(), 3);
      walk.run();
      const Tensor found = walk.model().norm(arch::Role::output_norm, -1, walk.stream().states);
      EXPECT_LT((found - expected).abs().max().item<double>(), 1e-5);
      EXPECT_EQ(walk.model().has(arch::Role::attn_q, 2), !on_disk);
      EXPECT_EQ(watcher.begun, (std::vector<int>{0, 1, 2}));
      EXPECT_EQ(watcher.ended, watcher.begun);
      EXPECT_EQ(watcher.blocks_ended, blocks ? 6u : 0u);
      // attn_in, attn_mix, ffn_in, ffn_act always; without blocks also what surrounds them.
      EXPECT_EQ(watcher.seen.size(), 3u * 3u * (blocks ? 4u : 8u));
      for (const auto& [key, times] : watcher.seen) EXPECT_EQ(times, 1);
    }
}

TEST(Walk, BatchesDoNotChangeTheWindows) {
  const torch::InferenceMode inference;
  Fixture f;
  Walk one(f.model, f.ids, {}, {.batch_tokens = 1}), all(f.model, f.ids, {});
  EXPECT_EQ(one.stream().batches(), 7);
  EXPECT_EQ(all.stream().batches(), 1);
  one.run();
  all.run();
  EXPECT_LT((one.stream().states - all.stream().states).abs().max().item<double>(), 1e-5);
}

TEST(Walk, GoesOnFromALayer) {
  const torch::InferenceMode inference;
  Fixture f;
  Walk whole(f.model, f.ids, {});
  whole.step();
  const Tensor kept = whole.stream().states.clone();
  whole.run();
  Walk rest(f.model, f.ids, {});
  rest.stream().states = kept;
  rest.go_on_from(1);
  rest.run();
  EXPECT_TRUE(torch::equal(rest.stream().states, whole.stream().states));
}

TEST(Walk, TellsHowFarItIs) {
  const torch::InferenceMode inference;
  Fixture f;
  std::vector<std::int64_t> done;
  Walk(f.model, f.ids, {},
       {.stage = "statistics",
        .progress =
            [&](const core::ProgressEvent& e) {
              EXPECT_EQ(e.stage, "statistics");
              EXPECT_EQ(e.total, 3);
              done.push_back(e.done);
            }})
      .run();
  EXPECT_EQ(done, (std::vector<std::int64_t>{1, 2, 3}));
}

}  // namespace
}  // namespace espalier::layerwise
