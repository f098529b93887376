// SPDX-License-Identifier: Apache-2.0
// Directories and GGUF files hold the same model; rows come back in the Hugging Face order whatever
// the file's; a written directory replaces another as a whole; what is missing or misshapen is
// listed at once.
#include "checkpoint/checkpoint.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <functional>
#include <limits>
#include <set>

#include "core/error.h"
#include "core/file.h"
#include "format/safetensors.h"
#include "support/temp_dir.h"
#include "support/tiny_model.h"

namespace espalier::checkpoint {
namespace {

namespace fs = std::filesystem;
using arch::Role;
using support::TempDir;
using support::TinyOptions;

std::string refusal(const std::string& path, core::ErrorKind kind, bool need_tensors = true) {
  try {
    Checkpoint::open(path, need_tensors);
  } catch (const core::Error& error) {
    EXPECT_EQ(error.kind(), kind) << error.what();
    return error.what();
  }
  ADD_FAILURE() << path << " was accepted";
  return "";
}

void expect_contents(const Checkpoint& checkpoint, const TinyOptions& options) {
  EXPECT_EQ(checkpoint.dims(), support::tiny_dims(options));
  const std::vector<arch::TensorRef> tensors = arch::tensors(checkpoint.arch(), checkpoint.dims());
  EXPECT_EQ(tensors.size(),
            (options.tied ? 2u : 3u) + 9u * static_cast<std::size_t>(options.layers));
  for (const arch::TensorRef& t : tensors)
    EXPECT_EQ(checkpoint.read(t.spec->role, t.layer),
              support::tiny_weights(options, t.spec->role, t.layer))
        << arch::gguf_name(t.spec->role, t.layer);
}

TEST(Checkpoint, DirectoryAndGgufHoldTheSameModel) {
  const TempDir dir;
  for (const bool tied : {true, false}) {
    TinyOptions options;
    options.tied = tied;
    options.head_dim = 24;
    const Checkpoint directory =
        Checkpoint::open(support::write_tiny_llama(dir.file("hf"), options));
    const Checkpoint gguf =
        Checkpoint::open(support::write_tiny_llama_gguf(dir.file("tiny.gguf"), options));
    expect_contents(directory, options);
    expect_contents(gguf, options);
    EXPECT_FALSE(directory.is_gguf());
    EXPECT_TRUE(gguf.is_gguf());
    EXPECT_EQ(parse_hf_config(gguf.hf_config(), "made").dims, directory.dims());
    EXPECT_TRUE(text::same_vocabulary(directory.tokenizer(), gguf.tokenizer()));
    EXPECT_EQ(directory.tokenizer().chat_template, gguf.tokenizer().chat_template);
    EXPECT_EQ(gguf.name(), "tiny");
    EXPECT_EQ(directory.name(), "hf");
  }
}

TEST(Checkpoint, QueryRowsOfGgufArePermuted) {  // the negative control of the test above
  const TempDir dir;
  const Checkpoint gguf = Checkpoint::open(support::write_tiny_llama_gguf(dir.file("tiny.gguf")));
  const core::FileReader file(dir.file("tiny.gguf"));
  const format::GgufHeader header = format::GgufHeader::read(file);
  const format::GgufTensor* stored = header.tensor("blk.0.attn_q.weight");
  ASSERT_NE(stored, nullptr);
  std::vector<float> raw(static_cast<std::size_t>(stored->cols() * stored->rows()));
  file.read(stored->offset, std::as_writable_bytes(std::span(raw)));
  EXPECT_NE(raw, gguf.read(Role::attn_q, 0));
}

TEST(Checkpoint, AnyRowsAreThoseOfTheWhole) {
  const TempDir dir;
  for (const std::string& path : {support::write_tiny_llama(dir.file("hf")),
                                  support::write_tiny_llama_gguf(dir.file("tiny.gguf"))}) {
    const Checkpoint checkpoint = Checkpoint::open(path);
    for (const Role role :
         {Role::attn_q, Role::attn_k, Role::ffn_down, Role::attn_norm, Role::token_embd}) {
      const arch::TensorRef t = arch::tensor_ref(checkpoint.arch(), checkpoint.dims(), role, 1);
      const std::vector<float> whole = checkpoint.read(role, 1);
      for (const auto& [begin, n] : {std::pair<std::int64_t, std::int64_t>{0, 1},
                                     {5, 1},
                                     {7, 20},
                                     {15, 2},
                                     {t.rows - 1, 1},
                                     {3, t.rows - 3},
                                     {2, 0}}) {
        std::vector<float> rows(static_cast<std::size_t>(n * t.cols));
        checkpoint.read_rows(role, 1, begin, n, rows.data());
        EXPECT_TRUE(std::equal(rows.begin(), rows.end(), whole.begin() + begin * t.cols))
            << arch::role_name(role) << " " << begin << " " << n;
      }
      float none = 0;
      EXPECT_THROW(checkpoint.read_rows(role, 1, t.rows, 1, &none), core::Error);
      EXPECT_THROW(checkpoint.read_rows(role, 1, -1, 1, &none), core::Error);
    }
  }
}

TEST(Checkpoint, WritesEveryDtypeAndShards) {
  const TempDir dir;
  const TinyOptions options;
  const Checkpoint source =
      Checkpoint::open(support::write_tiny_llama_gguf(dir.file("tiny.gguf"), options));
  for (const format::FormatId dtype :
       {format::FormatId::f32, format::FormatId::f16, format::FormatId::bf16}) {
    const std::string out = dir.file("out");  // each import replaces the one before
    import_checkpoint(
        source, out,
        {.dtype = dtype, .max_shard_bytes = dtype == format::FormatId::f32 ? 100000u : 1u << 30},
        {});
    const Checkpoint written = Checkpoint::open(out);
    EXPECT_EQ(fs::exists(out + "/model.safetensors"), dtype != format::FormatId::f32);
    EXPECT_EQ(fs::exists(out + "/model.safetensors.index.json"), dtype == format::FormatId::f32);
    EXPECT_FALSE(fs::exists(out + "/.incomplete"));
    EXPECT_EQ(written.dims(), source.dims());
    EXPECT_EQ(written.stored_format(Role::attn_q, 1), dtype);
    EXPECT_TRUE(text::same_vocabulary(written.tokenizer(), source.tokenizer()));
    const double tolerance = dtype == format::FormatId::f32   ? 0
                             : dtype == format::FormatId::f16 ? 0x1p-11
                                                              : 0x1p-8;
    for (const arch::TensorRef& t : arch::tensors(source.arch(), source.dims())) {
      const std::vector<float> a = source.read(t.spec->role, t.layer),
                               b = written.read(t.spec->role, t.layer);
      ASSERT_EQ(a.size(), b.size());
      for (std::size_t i = 0; i < a.size(); ++i)
        ASSERT_NEAR(a[i], b[i], tolerance * std::abs(a[i]) + (tolerance > 0 ? 1e-7 : 0));
    }
  }
}

TEST(Checkpoint, AnUnfinishedWriteLeavesThePreviousModel) {
  const TempDir dir;
  const TinyOptions options;
  const std::string path = support::write_tiny_llama(dir.file("hf"), options);
  const std::string before = Checkpoint::open(path).sha256();
  TinyOptions other = options;
  other.hidden = 32;
  {
    CheckpointWriter writer(path, support::llama(), support::tiny_dims(other), {}, {});
    writer.write_rows(Role::token_embd, -1, support::tiny_weights(other, Role::token_embd, -1));
    EXPECT_THROW(writer.finish(), core::Error);
  }
  EXPECT_EQ(Checkpoint::open(path).sha256(), before);
  EXPECT_FALSE(fs::exists(path + "/.incomplete"));

  fs::create_directory(path + "/.incomplete");  // of a killed run
  std::ofstream(path + "/.incomplete/config.json") << "{}";
  std::ofstream(path + "/manifest.json") << "{}";
  std::ofstream(path + "/notes.txt") << "mine";
  support::write_tiny_llama(path, other);
  EXPECT_EQ(Checkpoint::open(path).dims().hidden, 32);
  EXPECT_FALSE(fs::exists(path + "/.incomplete"));
  EXPECT_FALSE(fs::exists(path + "/manifest.json"));  // it described the old model
  EXPECT_TRUE(fs::exists(path + "/notes.txt"));
}

TEST(Checkpoint, WriterRefusesWrongOrderAndValues) {
  const TempDir dir;
  const arch::ModelDims dims = support::tiny_dims({});
  CheckpointWriter writer(dir.file("hf"), support::llama(), dims, {.dtype = format::FormatId::f16},
                          {});
  std::vector<float> rows(static_cast<std::size_t>(dims.hidden), 1.0f);
  EXPECT_THROW(writer.write_rows(Role::output_norm, -1, rows), core::Error);
  rows[3] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THROW(writer.write_rows(Role::token_embd, -1, rows), core::Error);
  rows[3] = 70000.0f;
  EXPECT_THROW(writer.write_rows(Role::token_embd, -1, rows), core::Error);
  rows.pop_back();
  EXPECT_THROW(writer.write_rows(Role::token_embd, -1, rows), core::Error);
  EXPECT_THROW(CheckpointWriter(dir.file("x"), support::llama(), dims,
                                {.dtype = format::FormatId::q8_0}, {}),
               core::Error);
  const Checkpoint source = Checkpoint::open(support::write_tiny_llama(dir.file("source")));
  EXPECT_THROW(import_checkpoint(source, dir.file("source"), {}, {}), core::Error);
}

std::string written(format::FormatId dtype, Role role, int at, float value) {
  const TempDir dir;
  try {
    CheckpointWriter writer(dir.file("m"), support::llama(), support::tiny_dims({}),
                            {.dtype = dtype}, {});
    for (const arch::TensorRef& t : arch::tensors(support::llama(), support::tiny_dims({}))) {
      std::vector<float> rows = support::tiny_weights({}, t.spec->role, t.layer);
      if (t.spec->role == role && t.layer != 0) {
        if (at >= 0)
          rows[static_cast<std::size_t>(at)] = value;
        else
          for (float& v : rows) v *= value;
      }
      const auto half = static_cast<std::ptrdiff_t>(t.rows / 2 * t.cols);
      writer.write_rows(t.spec->role, t.layer, {rows.begin(), rows.begin() + half});
      writer.write_rows(t.spec->role, t.layer, {rows.begin() + half, rows.end()});
    }
    writer.finish();
  } catch (const core::Error& e) {
    EXPECT_EQ(e.kind(), core::ErrorKind::input);
    return e.what();
  }
  return "";
}
TEST(Checkpoint, WriterRefusesWhatItsDtypeLoses) {
  using format::FormatId;
  constexpr int kAt = 40 * 64 + 5;
  for (const auto& [dtype, value] : {std::pair(FormatId::f16, 65504.0f),
                                     {FormatId::f16, -1e-7f},
                                     {FormatId::bf16, 3.38e38f},
                                     {FormatId::f32, 3.4e38f}})
    EXPECT_EQ(written(dtype, Role::attn_q, kAt, value), "") << value;
  for (const auto& [dtype, value] :
       {std::pair(FormatId::f16, 70000.0f), {FormatId::bf16, -3.4e38f}}) {
    const std::string text = written(dtype, Role::attn_q, kAt, value);
    EXPECT_NE(text.find("tensor model.layers.1.self_attn.q_proj.weight[40, 5] is "),
              std::string::npos)
        << text;
    EXPECT_NE(text.find(" does not fit " + std::string(format::info(dtype).name) + "; use "),
              std::string::npos)
        << text;
  }
  EXPECT_NE(
      written(FormatId::f16, Role::attn_q, -1, 1e-7f).find("q_proj.weight: its values are too"),
      std::string::npos);
  EXPECT_EQ(written(FormatId::bf16, Role::attn_q, -1, 1e-7f), "");
  EXPECT_EQ(written(FormatId::f16, Role::attn_norm, -1, 1e-7f), "");  // a vector
}

TEST(Checkpoint, HashFollowsContentNotPlace) {
  const TempDir dir;
  TinyOptions options;
  const std::string a =
      Checkpoint::open(support::write_tiny_llama(dir.file("a"), options)).sha256();
  EXPECT_EQ(a, Checkpoint::open(support::write_tiny_llama(dir.file("b"), options)).sha256());
  options.seed = 2;
  EXPECT_NE(a, Checkpoint::open(support::write_tiny_llama(dir.file("c"), options)).sha256());
}

TEST(Checkpoint, HashFollowsTheFilesOfItsVocabulary) {
  const TempDir dir;
  const std::string path = support::write_tiny_llama(dir.file("hf"));
  fs::remove(path + "/tokenizer.json");
  const std::string none = Checkpoint::open(path).sha256();
  std::set<std::string> hashes{none};
  for (const auto& [name, text] :
       {std::pair("vocab.json", "{}"), std::pair("merges.txt", "a b"),
        std::pair("merges.txt", "a c"), std::pair("added_tokens.json", "{}")}) {
    core::write_text_file(path + "/" + name, text);
    EXPECT_TRUE(hashes.insert(Checkpoint::open(path).sha256()).second) << name;
  }
  for (const char* name : {"vocab.json", "merges.txt", "added_tokens.json"})
    fs::remove(path + "/" + name);
  EXPECT_EQ(Checkpoint::open(path).sha256(), none);
  core::write_text_file(path + "/tekken.json", "{}");
  EXPECT_TRUE(hashes.insert(Checkpoint::open(path).sha256()).second);
}

TEST(Checkpoint, WritingLeavesNoFilesOfAnotherTokenizer) {
  const TempDir dir;
  const std::string path = support::write_tiny_llama(dir.file("hf"));
  const std::vector<std::string> stale{
      "tokenizer_gguf.json", "tekken.json",        "vocab.json",
      "merges.txt",          "chat_template.json", "additional_chat_templates/rag.jinja"};
  for (const std::string& name : stale) core::write_text_file(path + "/" + name, "{}");
  core::write_text_file(path + "/additional_things/notes.txt", "mine");
  const std::string other = support::write_tiny_llama(dir.file("other"));
  core::write_text_file(other + "/additional_chat_templates/tools.jinja", "{{ tools }}");
  import_checkpoint(Checkpoint::open(other), path, {}, {});
  for (const std::string& name : stale) EXPECT_FALSE(fs::exists(path + "/" + name)) << name;
  EXPECT_EQ(core::read_text_file(path + "/additional_chat_templates/tools.jinja"), "{{ tools }}");
  EXPECT_TRUE(fs::exists(path + "/additional_things/notes.txt"));
}

TEST(Checkpoint, BareConfigHasSizesOnly) {
  const TempDir dir;
  support::write_tiny_llama(dir.file("hf"));
  const Checkpoint config = Checkpoint::open(dir.file("hf") + "/config.json", false);
  EXPECT_EQ(config.dims(), support::tiny_dims({}));
  EXPECT_FALSE(config.has_tokenizer());
  EXPECT_THROW(config.tokenizer(), core::Error);
  EXPECT_THROW(config.read(Role::attn_q, 0), core::Error);
  refusal(dir.file("hf") + "/config.json", core::ErrorKind::input);
}

TEST(Checkpoint, ListsEveryWrongTensorOfADirectory) {
  const TempDir dir;
  const std::string path = support::write_tiny_llama(dir.file("hf"));
  {
    format::SafetensorsWriter writer(path + "/model.safetensors");
    writer.add_tensor("model.norm.weight", format::FormatId::f32, {8});  // misshapen
    writer.add_tensor("model.layers.0.self_attn.q_proj.bias", format::FormatId::f32,
                      {1});  // a trait we do not have
    writer.add_tensor("model.layers.0.self_attn.rotary_emb.inv_freq", format::FormatId::f32,
                      {1});  // ignored
    writer.begin();
    for (const std::size_t bytes : {32, 4, 4}) writer.write(std::vector<std::byte>(bytes));
    writer.finish();
  }
  const std::string text = refusal(path, core::ErrorKind::input);
  EXPECT_NE(text.find("\"model.norm.weight\" has shape [8], expected [64]"), std::string::npos)
      << text;
  EXPECT_NE(text.find("\"model.embed_tokens.weight\" is missing"), std::string::npos) << text;
  EXPECT_NE(text.find("\"model.layers.1.mlp.down_proj.weight\" is missing"), std::string::npos)
      << text;
  EXPECT_NE(text.find("q_proj.bias"), std::string::npos) << text;
  EXPECT_EQ(text.find("inv_freq"), std::string::npos) << text;
  EXPECT_NE(text.find("21 problems"), std::string::npos)
      << text;  // 20 tensors are missing or misshapen, one is too many
}

TEST(Checkpoint, RefusesDirectoriesThatAreNoModels) {
  const TempDir dir;
  refusal(dir.file("absent"), core::ErrorKind::input);
  EXPECT_NE(refusal(dir.path(), core::ErrorKind::input).find("config.json"), std::string::npos);
  support::write_tiny_llama(dir.file("hf"));
  fs::remove(dir.file("hf") + "/model.safetensors");
  refusal(dir.file("hf"), core::ErrorKind::input);
  EXPECT_EQ(Checkpoint::open(dir.file("hf"), false).dims(), support::tiny_dims({}));
  std::ofstream(dir.file("hf") + "/pytorch_model.bin") << "x";
  EXPECT_NE(refusal(dir.file("hf"), core::ErrorKind::unsupported).find("safetensors"),
            std::string::npos);
}

// A GGUF with the tensors of the tiny model, each of which `edit` may rename, reshape (by returning
// other ne) or drop (empty name).
using Edit = std::function<void(std::string& name, std::vector<std::int64_t>& ne)>;
void unchanged(std::string&, std::vector<std::int64_t>&) {}

std::string write_edited(const std::string& path, const arch::ModelDims& dims, const Edit& edit,
                         const std::vector<float>& rope_freqs = {}) {
  format::GgufWriter writer(path);
  dims_to_gguf(support::llama(), dims, writer);
  std::vector<std::size_t> bytes;
  for (const arch::TensorRef& t : arch::tensors(support::llama(), dims)) {
    std::string name = arch::gguf_name(t.spec->role, t.layer);
    std::vector<std::int64_t> ne = t.is_vector ? std::vector{t.rows} : std::vector{t.cols, t.rows};
    edit(name, ne);
    if (name.empty()) continue;
    bytes.push_back(4);
    for (const std::int64_t d : ne) bytes.back() *= static_cast<std::size_t>(d);
    writer.add_tensor(name, ne, format::FormatId::f32);
  }
  if (!rope_freqs.empty())
    writer.add_tensor("rope_freqs.weight", {static_cast<std::int64_t>(rope_freqs.size())},
                      format::FormatId::f32);
  writer.begin();
  for (const std::size_t n : bytes) writer.write(std::vector<std::byte>(n));
  if (!rope_freqs.empty()) writer.write(std::as_bytes(std::span(rope_freqs)));
  writer.finish();
  return path;
}

TEST(Checkpoint, ListsEveryWrongTensorOfAGguf) {
  const TempDir dir;
  const std::string path = write_edited(dir.file("x.gguf"), support::tiny_dims({}),
                                        [](std::string& name, std::vector<std::int64_t>& ne) {
                                          if (name == "blk.0.attn_q.weight")
                                            std::swap(ne[0], ne[1]), ne[1] /= 2;
                                          if (name == "blk.1.ffn_up.weight") name = "";
                                          if (name == "blk.1.ffn_down.weight")
                                            name = "blk.1.ffn_down_exps.weight";
                                        });
  const std::string text = refusal(path, core::ErrorKind::input);
  EXPECT_NE(text.find("\"blk.0.attn_q.weight\" has shape"), std::string::npos) << text;
  EXPECT_NE(text.find("\"blk.1.ffn_up.weight\" is missing"), std::string::npos) << text;
  EXPECT_NE(text.find("\"blk.1.ffn_down_exps.weight\""), std::string::npos) << text;
  EXPECT_NE(text.find("4 problems"), std::string::npos) << text;
}

TEST(Checkpoint, RecoversRopeScalingFromItsFactors) {
  const TempDir dir;
  TinyOptions plain, scaled;
  plain.head_dim = scaled.head_dim = 64;
  plain.rope_theta = scaled.rope_theta = 500000;
  const auto with_factors = [&](const TinyOptions& options, const std::vector<float>& factors) {
    return write_edited(dir.file("x.gguf"), support::tiny_dims(options), unchanged, factors);
  };
  for (const double factor : {8.0, 32.0}) {
    scaled.rope_scaling = {factor, 1, 4, 8192};
    std::vector<float> factors = arch::rope_frequency_factors(support::tiny_dims(scaled));
    ASSERT_EQ(factors.size(), 32u);
    const auto middle = std::find_if(factors.begin(), factors.end(), [&](float f) {
      return f > 1 && f < static_cast<float>(factor);
    });
    ASSERT_NE(middle, factors.end());
    EXPECT_EQ(Checkpoint::open(with_factors(plain, factors)).dims().rope_scaling,
              scaled.rope_scaling);
    *middle = std::nextafter(*middle, 0.0f);  // converters compute in float32
    EXPECT_EQ(Checkpoint::open(with_factors(plain, factors)).dims().rope_scaling,
              scaled.rope_scaling);
    *middle *= 1.0001f;
    EXPECT_NE(
        refusal(with_factors(plain, factors), core::ErrorKind::unsupported).find("rope_freqs"),
        std::string::npos);
    *middle = std::numeric_limits<float>::quiet_NaN();
    refusal(with_factors(plain, factors), core::ErrorKind::unsupported);
    factors.pop_back();
    refusal(with_factors(plain, factors), core::ErrorKind::input);
  }
  // Other parameters. Only ratios of the last three follow from the factors.
  for (const arch::RopeScaling& scaling :
       {arch::RopeScaling{8, 1, 4, 4096}, arch::RopeScaling{2.5, 1, 1.5, 32768},
        arch::RopeScaling{16, 1.25, 4, 8192}, arch::RopeScaling{4, 1, 1.01, 2048},
        arch::RopeScaling{4, 2, 8, 6000}}) {
    scaled.rope_scaling = scaling;
    const arch::ModelDims wanted = support::tiny_dims(scaled);
    const arch::ModelDims found =
        Checkpoint::open(with_factors(plain, arch::rope_frequency_factors(wanted))).dims();
    EXPECT_EQ(found.rope_scaling.factor, scaling.factor);
    const std::vector<double> theirs = arch::rope_inverse_frequencies(wanted),
                              ours = arch::rope_inverse_frequencies(found);
    for (std::size_t i = 0; i < theirs.size(); ++i)
      EXPECT_NEAR(ours[i] / theirs[i], 1, 1e-6) << scaling.original_positions << " " << i;
  }
  scaled.rope_scaling = {8, 1, 4, 4096};
  EXPECT_EQ(Checkpoint::open(
                with_factors(plain, arch::rope_frequency_factors(support::tiny_dims(scaled))))
                .dims()
                .rope_scaling,
            scaled.rope_scaling);
  const arch::ModelDims linear =
      Checkpoint::open(with_factors(plain, std::vector<float>(32, 2.5f))).dims();
  EXPECT_EQ(linear.rope_linear, 2.5);
  EXPECT_EQ(linear.rope_scaling.factor, 1);
  std::vector<float> arbitrary(32, 1.0f);
  for (std::size_t i = 0; i < arbitrary.size(); ++i) arbitrary[i] += 0.1f * static_cast<float>(i);
  const std::string refused = refusal(with_factors(plain, arbitrary), core::ErrorKind::unsupported);
  EXPECT_NE(refused.find("start from the Hugging Face directory"), std::string::npos) << refused;
  // With our own metadata, too.
  scaled.rope_scaling = {5, 1.5, 3, 4096};
  EXPECT_EQ(Checkpoint::open(support::write_tiny_llama_gguf(dir.file("f.gguf"), scaled)).dims(),
            support::tiny_dims(scaled));
  const std::vector<float> ones(32, 1.0f);
  refusal(with_factors(scaled, ones), core::ErrorKind::input);
  EXPECT_EQ(Checkpoint::open(with_factors(plain, ones)).dims().rope_scaling.factor, 1);
}

TEST(Checkpoint, GgufOfUnequalLayersOpens) {
  const TempDir dir;
  arch::ModelDims dims = support::tiny_dims({});
  dims.layers[1][arch::Axis::ffn] = 32;
  const Checkpoint checkpoint = Checkpoint::open(write_edited(dir.file("x.gguf"), dims, unchanged));
  EXPECT_EQ(checkpoint.dims(), dims);
  import_checkpoint(checkpoint, dir.file("out"), {}, {});
  EXPECT_TRUE(fs::exists(dir.file("out") + "/modeling_espalier.py"));
  const Checkpoint written = Checkpoint::open(dir.file("out"));
  EXPECT_EQ(written.arch().name, "deci");
  EXPECT_EQ(written.dims(), dims);
  for (const arch::TensorRef& t : arch::tensors(checkpoint.arch(), dims))
    EXPECT_EQ(written.read(t.spec->role, t.layer), checkpoint.read(t.spec->role, t.layer))
        << arch::gguf_name(t.spec->role, t.layer);
  // A model with one size for all takes its place, and the modeling file goes.
  dims.layers[1][arch::Axis::ffn] = dims.layers[0][arch::Axis::ffn];
  import_checkpoint(Checkpoint::open(write_edited(dir.file("y.gguf"), dims, unchanged)),
                    dir.file("out"), {}, {});
  EXPECT_FALSE(fs::exists(dir.file("out") + "/modeling_espalier.py"));
}

// GPT-2's matrices lie columns first in its directories: one row at a time, a few, and all of them
// are the same values.
TEST(Checkpoint, RowsOfMatricesStoredColumnsFirst) {
  const Checkpoint source =
      Checkpoint::open(std::string(ESPALIER_SOURCE_DIR "/tests/golden/model_gpt2_a"));
  int matrices = 0;
  for (const arch::TensorRef& t : arch::tensors(source.arch(), source.dims())) {
    if (t.spec->to_gguf != arch::Transform::transpose) continue;
    ++matrices;
    const std::vector<float> whole = source.read(t.spec->role, t.layer);
    for (const std::int64_t n : {std::int64_t{1}, std::int64_t{3}, t.rows - 2}) {
      std::vector<float> some(static_cast<std::size_t>(n * t.cols));
      source.read_rows(t.spec->role, t.layer, 2, n, some.data());
      EXPECT_TRUE(std::equal(some.begin(), some.end(), whole.begin() + 2 * t.cols))
          << n << " rows of " << arch::gguf_name(t.spec->role, t.layer);
    }
  }
  EXPECT_EQ(matrices, 3 * 4);
}

}  // namespace
}  // namespace espalier::checkpoint
