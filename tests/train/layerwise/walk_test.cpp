// SPDX-License-Identifier: Apache-2.0
// The walk gives the states of a whole forward pass, in any granularity, for models in memory and
// on disk, and shows each visitor each value once.
#include "layerwise/walk.h"

#include <gtest/gtest.h>

#include <map>

#include "core/error.h"
#include "core/file.h"
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
  void block_end(model::Transformer&, int, const arch::Block&, const Stream&) override {
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

// Counts batches, keeps a sum of each layer, and rests only behind every second layer.
struct Keeper : Visitor {
  int rests_after = 1;
  Tensor sum = torch::zeros({64}, torch::kFloat64);
  std::map<int, Tensor> of_layer;
  std::int64_t batches = 0;
  bool rests = true;
  void see(Tap point, int, std::int64_t, const Tensor& value) override {
    if (point != Tap::attn_in) return;
    ++batches;
    sum += value.sum({0, 1}, false, torch::kFloat64);
  }
  void layer_end(model::Transformer&, int layer, const Stream&) override {
    of_layer[layer] = sum.clone();
    rests = (layer + 1) % rests_after == 0;
  }
  bool at_rest() const override { return rests; }
  void save_layer(int layer, Saved& out) const override {
    out.tensors["sum"] = of_layer.at(layer);
    out.tensors["bytes"] = torch::full({5}, layer, torch::kUInt8);
  }
  void load_layer(int layer, const Saved& in) override {
    of_layer[layer] = in.tensors.at("sum");
    EXPECT_TRUE(torch::equal(in.tensors.at("bytes"), torch::full({5}, layer, torch::kUInt8)));
  }
  void save(Saved& out) const override {
    out.about["batches"] = batches;
    out.tensors["sum"] = sum;
    out.tensors["none"] = torch::empty({0, 3}, torch::kInt64);
  }
  void load(const Saved& in) override {
    batches = in.about.at("batches").get<std::int64_t>();
    sum = in.tensors.at("sum");
    EXPECT_EQ(in.tensors.at("none").sizes(), (std::vector<std::int64_t>{0, 3}));
  }
};

struct Resumed : Fixture {
  checkpoint::WorkFolder work(bool resume, double share = 1) {
    return {{.folder = dir.file("work"), .resume = resume, .share = share}, "me"};
  }
};

TEST(Walk, GoesOnWhereItWasKilled) {
  const torch::InferenceMode inference;
  for (const int rests_after : {1, 2})
    for (const int killed_after : {1, 2, 3}) {
      Resumed f;
      Keeper whole[2], before[2], after[2];
      Walk undisturbed(f.model, f.ids, {&whole[0], &whole[1]}, {.batch_tokens = 60});
      undisturbed.run();
      for (Keeper* k : {before, after}) k[1].rests_after = rests_after;
      auto first = f.work(false), second = f.work(true);
      begin(first);
      Walk killed(f.model, f.ids, {&before[0], &before[1]}, {.batch_tokens = 60, .work = &first});
      for (int l = 0; l < killed_after; ++l) killed.step();
      begin(second);
      EXPECT_EQ(second.threads(), first.threads());
      std::vector<std::int64_t> done;
      Walk rest(f.model, f.ids, {&after[0], &after[1]},
                {.progress = [&](const core::ProgressEvent& e) { done.push_back(e.done); },
                 .batch_tokens = 60,
                 .work = &second});
      const int kept = killed_after / rests_after * rests_after;
      EXPECT_EQ(rest.next(), kept);
      EXPECT_EQ(rest.kept(), kept);
      for (int l = 0; l < kept; ++l)
        EXPECT_TRUE(torch::equal(rest.kept_layer(l, 1).tensors.at("sum"), whole[1].of_layer.at(l)));
      rest.run();
      EXPECT_EQ(done.size(), static_cast<std::size_t>(3 - kept));
      EXPECT_TRUE(torch::equal(rest.stream().states, undisturbed.stream().states));
      for (const int i : {0, 1}) {
        EXPECT_EQ(after[i].batches, whole[i].batches);
        for (const int l : {0, 1, 2})
          EXPECT_TRUE(torch::equal(after[i].of_layer.at(l), whole[i].of_layer.at(l)));
      }
    }
}

TEST(Walk, RefusesABrokenState) {
  const torch::InferenceMode inference;
  Resumed f;
  for (const char* broken : {"walk.safetensors", "layer-1.safetensors"}) {
    Keeper keeper;
    auto first = f.work(false), second = f.work(true);
    begin(first);
    Walk killed(f.model, f.ids, {&keeper}, {.work = &first});
    killed.step();
    killed.step();
    const std::string content = core::read_text_file(first.file(broken));
    for (const std::string& bad :
         {std::string("nonsense"), content.substr(0, content.size() - 1)}) {
      core::write_text_file(first.file(broken), bad);
      begin(second);
      try {
        Walk(f.model, f.ids, {&keeper}, {.work = &second});
        ADD_FAILURE() << broken;
      } catch (const core::Error& error) {
        EXPECT_EQ(error.kind(), core::ErrorKind::input);
        EXPECT_NE(std::string(error.what()).find("remove it to start over"), std::string::npos)
            << error.what();
      }
    }
  }
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
