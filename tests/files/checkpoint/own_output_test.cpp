// SPDX-License-Identifier: Apache-2.0
// An output matrix that is stored beside "tie_word_embeddings": true counts when its values are not
// the embedding's, in every family whose readers take it so.
#include "checkpoint/own_output.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

#include "checkpoint/checkpoint.h"
#include "core/error.h"
#include "core/file.h"
#include "core/notes.h"
#include "support/edit_tensors.h"
#include "support/golden_models.h"
#include "support/temp_dir.h"
#include "support/tiny_model.h"

namespace espalier::checkpoint {
namespace {

using arch::Role;
using format::FormatId;
using support::RawTensor;
using support::RawTensors;
using support::TempDir;

constexpr const char *kEmbedding = "model.embed_tokens.weight", *kOutput = "lm_head.weight";

// How many notes name `path` and `word`.
std::ptrdiff_t notes_of(const std::string& path, const std::string& word) {
  const std::vector<std::string> notes = core::notes();
  return std::count_if(notes.begin(), notes.end(), [&](const std::string& note) {
    return note.starts_with(path + ": ") && note.find(word) != std::string::npos;
  });
}

TEST(OwnOutput, OtherValuesUntie) {
  const TempDir dir;
  const support::TinyOptions options{.tied = true, .dtype = FormatId::bf16};
  const auto with = [&](const std::string& name, const std::function<RawTensor(RawTensor)>& made,
                        std::uint64_t shard = 0) {
    const std::string path = support::write_tiny_llama(dir.file(name), options);
    support::edit_tensors(
        path, [&](RawTensors& all) { all[kOutput] = made(all.at(kEmbedding)); }, shard);
    return path;
  };
  const std::int64_t values = options.vocab * options.hidden;
  const auto same = [](const RawTensor& t) { return t; };
  const auto wider = [](const RawTensor& t) { return t.as(FormatId::f32); };
  const auto last = [&](RawTensor t) {
    t.set(values - 1, 3.0f);
    return t;
  };
  for (const std::string& tied : {with("same", same), with("wider", wider)}) {
    EXPECT_TRUE(Checkpoint::open(tied).dims().tied) << tied;
    EXPECT_EQ(notes_of(tied, ""), 0) << tied;
  }
  for (const std::string& untied : {with("last", last), with("shards", last, 30000)}) {
    const Checkpoint source = Checkpoint::open(untied);
    EXPECT_FALSE(source.dims().tied) << untied;
    EXPECT_FALSE(Checkpoint::open(untied, false).dims().tied) << untied;
    EXPECT_EQ(source.read(Role::output, -1).back(), 3.0f);
    EXPECT_NE(source.read(Role::token_embd, -1).back(), 3.0f);
    EXPECT_EQ(notes_of(untied, "tie_word_embeddings"), 1) << untied;

    const std::string copy = dir.file("copy");
    import_checkpoint(source, copy, {.dtype = FormatId::bf16}, {});
    const auto config = nlohmann::json::parse(core::read_text_file(copy + "/config.json"));
    EXPECT_EQ(config.at("tie_word_embeddings"), false);
    const Checkpoint imported = Checkpoint::open(copy);
    EXPECT_EQ(imported.read(Role::output, -1), source.read(Role::output, -1));
    EXPECT_EQ(notes_of(copy, ""), 0);
  }
  EXPECT_TRUE(std::filesystem::exists(dir.file("shards") + "/model.safetensors.index.json"));
}

TEST(OwnOutput, ZeroHasNoSignAndShapesMustAgree) {
  const TempDir dir;
  const std::string path = support::write_tiny_llama(dir.file("m"));
  support::edit_tensors(path, [&](RawTensors& all) {
    all.at(kEmbedding).set(7, 0.0f);
    all[kOutput] = all.at(kEmbedding);
    all[kOutput].set(7, -0.0f);
  });
  EXPECT_TRUE(Checkpoint::open(path).dims().tied);
  support::edit_tensors(path, [](RawTensors& all) {
    all[kOutput].shape = {all[kOutput].shape[1], all[kOutput].shape[0]};
  });
  try {
    Checkpoint::open(path);
    FAIL() << "a matrix of another shape was taken";
  } catch (const core::Error& e) {
    EXPECT_EQ(e.kind(), core::ErrorKind::input);
    EXPECT_NE(std::string(e.what()).find("\"lm_head.weight\" has shape [64, 320]"),
              std::string::npos)
        << e.what();
  }
}

// OpenELM's published code has no output matrix where the config shares it; the note says so.
TEST(OwnOutput, EveryTiedFamily) {
  const TempDir dir;
  std::set<std::string> families;
  for (const char* name : support::kGoldenModels) {
    const std::string golden = support::golden_model(name).directory;
    const Checkpoint before = Checkpoint::open(golden);
    if (!before.dims().tied) continue;
    families.emplace(before.arch().name);
    const std::string path = dir.file(name);
    std::filesystem::copy(golden, path);
    std::vector<float> expected;
    support::edit_tensors(path, [&](RawTensors& all) {
      const std::string embedding(arch::find_spec(before.arch(), Role::token_embd)->hf);
      const auto found = std::find_if(all.begin(), all.end(), [&](const auto& t) {
        return t.first == embedding || embedding.ends_with("." + t.first);
      });
      ASSERT_NE(found, all.end()) << name;
      RawTensor output = found->second;
      output.set(5, 11.0f);
      all[kOutput] = output;
    });
    const Checkpoint source = Checkpoint::open(path);
    if (before.arch().name == "openelm") {
      EXPECT_TRUE(source.dims().tied);
      EXPECT_EQ(notes_of(path, "is not used"), 1);
      continue;
    }
    EXPECT_FALSE(source.dims().tied) << name;
    EXPECT_EQ(notes_of(path, "tie_word_embeddings"), 1) << name;
    EXPECT_EQ(source.read(Role::output, -1)[5], 11.0f) << name;
    EXPECT_EQ(arch::parameters(source.arch(), source.dims()),
              arch::parameters(before.arch(), before.dims()) +
                  before.dims().vocab * before.dims().hidden);
    const auto config = nlohmann::json::parse(
        make_hf_config(source.arch(), source.dims(), source.hf_config(), FormatId::f32, nullptr));
    EXPECT_EQ(config.at("tie_word_embeddings"), false) << name;
  }
  EXPECT_EQ(families, (std::set<std::string>{"deci", "gemma2", "gemma3", "gpt2", "granite",
                                             "granitemoehybrid", "llama", "mistral", "openelm",
                                             "phi3", "qwen2", "qwen3", "smollm3"}));
}

// Buffers of old versions are passed over by their full names alone.
TEST(OwnOutput, TensorsPassedOverAreThoseOfTheModelsLayers) {
  const TempDir dir;
  const std::string path = support::write_tiny_llama(dir.file("m"));
  const auto add = [&](const std::string& name) {
    support::edit_tensors(path, [&](RawTensors& all) {
      all[name] = {FormatId::f32, {8}, std::vector<std::byte>(32)};
    });
  };
  add("model.layers.1.self_attn.rotary_emb.inv_freq");
  add("model.rotary_emb.inv_freq");
  EXPECT_NO_THROW(Checkpoint::open(path));
  for (const char* other : {"model.layers.2.self_attn.rotary_emb.inv_freq",
                            "vision.rotary_emb.inv_freq", "transformer.h.0.attn.bias"}) {
    add(other);
    EXPECT_THROW(Checkpoint::open(path), core::Error) << other;
    support::edit_tensors(path, [&](RawTensors& all) { all.erase(other); });
  }
}

}  // namespace
}  // namespace espalier::checkpoint
