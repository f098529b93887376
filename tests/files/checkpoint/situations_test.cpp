// SPDX-License-Identifier: Apache-2.0
// What users have instead of a whole model: weights of other layouts, leftovers of other tools,
// files beside a model. Known ones are read and said, or refused by what they are.
#include <gtest/gtest.h>

#include <filesystem>
#include <functional>
#include <map>

#include "checkpoint/checkpoint.h"
#include "core/error.h"
#include "core/file.h"
#include "core/notes.h"
#include "format/gguf.h"
#include "support/edit_tensors.h"
#include "support/temp_dir.h"
#include "support/tiny_model.h"

namespace espalier::checkpoint {
namespace {

namespace fs = std::filesystem;

std::string refusal(const std::string& path) {
  try {
    Checkpoint::open(path);
  } catch (const core::Error& error) {
    return error.what();
  }
  return "accepted";
}
void expect_said(const std::string& text, const std::string& words) {
  EXPECT_NE(text.find(words), std::string::npos) << text << "\nexpected: " << words;
}
std::string last_note() { return core::notes().empty() ? "" : core::notes().back(); }

// Renames tensors, and adds some with one value, which is 0.
void edit_names(const std::string& model, const std::function<std::string(std::string)>& rename,
                const std::vector<std::string>& more = {}) {
  support::edit_tensors(model, [&](support::RawTensors& tensors) {
    support::RawTensors edited;
    for (const auto& [name, tensor] : tensors) edited[rename(name)] = tensor;
    for (const std::string& name : more)
      edited[name] = {.shape = {1}, .bytes = std::vector<std::byte>(4)};
    tensors = std::move(edited);
  });
}
std::string same(std::string name) { return name; }

TEST(Situations, WeightsOfOtherLayoutsAreNamed) {
  const support::TempDir dir;
  const std::string model = support::write_tiny_llama(dir.file("m"));
  fs::remove(model + "/model.safetensors");
  for (const auto& [file, words] : std::map<std::string, std::string>{
           {"model-00001-of-00002.safetensors", "without model.safetensors.index.json"},
           {"consolidated.safetensors", "names of their own"},
           {"consolidated.00.pth", "layout in safetensors"},
           {"model.safetensors.incomplete", "not complete"},
           {"model.fp16.safetensors", "rename the file"},
           {"flax_model.msgpack", "as safetensors first"},
           {"student-q8_0.gguf", "give the file itself"}}) {
    core::write_text_file(model + "/" + file, "x");
    const std::string said = refusal(model);
    expect_said(said, "the weights are " + file);
    expect_said(said, words);
    fs::remove(model + "/" + file);
  }
  core::write_text_file(model + "/training_args.bin", "x");
  expect_said(refusal(model), "there is neither model.safetensors nor");
  fs::create_symlink("../../blobs/0a1b", model + "/model.safetensors");
  expect_said(refusal(model), "is a link to ../../blobs/0a1b, which is not there");
}

TEST(Situations, NamesWithAPrefixAreReadAndSaid) {
  const support::TempDir dir;
  for (const std::string prefix : {"student.", "model.", "_forward_module.", "a.b."}) {
    const std::string model = support::write_tiny_llama(dir.file(prefix + "m"));
    edit_names(model, [&](const std::string& name) { return prefix + name; });
    EXPECT_EQ(refusal(model), "accepted") << prefix;
    expect_said(last_note(), "are read without " + prefix);
  }
  const std::string model = support::write_tiny_llama(dir.file("base"));
  edit_names(model, [](std::string name) {
    const std::size_t at = name.find("q_proj.weight");
    if (at != std::string::npos) name.replace(at, 13, "q_proj.base_layer.weight");
    return name;
  });
  EXPECT_EQ(refusal(model), "accepted");
  const std::string other = support::write_tiny_llama(dir.file("other"));
  edit_names(other, [](const std::string& name) { return "x" + name; });
  expect_said(refusal(other), "but xmodel.");
}

TEST(Situations, LeftoversOfOtherToolsAreSaidOrRefused) {
  const support::TempDir dir;
  const auto with = [&](const std::string& name) {
    const std::string model = support::write_tiny_llama(dir.file("m"));
    edit_names(model, same, {name});
    return refusal(model);
  };
  for (const char* name :
       {"model.layers.0.self_attn.k_scale", "model.layers.1.self_attn.v_proj.output_scale",
        "model.layers.0.mlp.up_proj.input_quantizer._amax"}) {
    EXPECT_EQ(with(name), "accepted") << name;
    expect_said(last_note(), "1 tensors with ranges of a quantization");
  }
  expect_said(with("score.weight"), "head of a classifier or a reward model");
  expect_said(with("model.layers.0.self_attn.q_proj.lora_A.weight"), "LoRA adapter");
  expect_said(with("model.layers.0.self_attn.q_proj.bitmask"), "quantized by another tool");
  expect_said(with("something.weight"), "is not part of architecture");
  expect_said(with("model.layers.71.mlp.up_proj.weight"), "is of layer 71, and the model has ");
}

TEST(Situations, AGenerationConfigThatIsNoneIsRefused) {
  const support::TempDir dir;
  const std::string model = support::write_tiny_llama(dir.file("m"));
  for (const char* text :
       {"", "[]", "{\"temperature\": NaN}", "version https://git-lfs.github.com/"}) {
    core::write_text_file(model + "/generation_config.json", text);
    expect_said(refusal(model), "generation_config.json");
  }
  core::write_text_file(model + "/generation_config.json", "{}");
  EXPECT_EQ(refusal(model), "accepted");
}

TEST(Situations, OfTwoSetsOfWeightsOneIsReadAndSaid) {
  const support::TempDir dir;
  const std::string model = support::write_tiny_llama(dir.file("m"));
  core::write_text_file(model + "/model.safetensors.index.json",
                        R"({"weight_map": {"a": "model-00001-of-00002.safetensors"}})");
  EXPECT_EQ(refusal(model), "accepted");
  expect_said(last_note(), "and not the shards");
}

TEST(Situations, GgufsThatAreNoModelsAreNamed) {
  const support::TempDir dir;
  for (const auto& [value, words] :
       std::map<std::string, std::string>{{"adapter", "import BASE --adapter"},
                                          {"imatrix", "quantize --imatrix"},
                                          {"mmproj", "text part"}}) {
    const std::string path = dir.file(value + ".gguf");
    format::GgufWriter writer(path);
    writer.set("general.type", format::GgufValue::string(value));
    writer.begin();
    writer.finish();
    expect_said(refusal(path), words);
  }
}

TEST(Situations, KeysOfAGgufThatAreSwitchedOffAreHarmless) {
  const support::TempDir dir;
  const auto with = [&](const std::string& key, const format::GgufValue& value) {
    const std::string path = dir.file("keys.gguf");
    format::GgufWriter writer(path);
    dims_to_gguf(support::llama(), support::tiny_dims({}), writer);
    writer.set("llama." + key, value);
    writer.begin();
    writer.finish();
    return refusal(path);
  };
  const auto by_key = [](const std::string& said) {
    return said.find("not supported, by key") != std::string::npos;
  };
  EXPECT_FALSE(by_key(with("pooling_type", format::GgufValue::u32(0))));
  EXPECT_FALSE(by_key(with("some_feature", format::GgufValue::boolean(false))));
  EXPECT_FALSE(by_key(with("some_feature", format::GgufValue::string(""))));
  EXPECT_TRUE(by_key(with("pooling_type", format::GgufValue::u32(1))));
  EXPECT_TRUE(by_key(with("attention.causal", format::GgufValue::boolean(false))));
}

}  // namespace
}  // namespace espalier::checkpoint
