// SPDX-License-Identifier: Apache-2.0
// Models with experts, in the forms in which files hold them: scripts/golden/experts.py. Other
// software wrote the files.
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "checkpoint/checkpoint.h"
#include "core/error.h"
#include "core/file.h"
#include "support/edit_tensors.h"
#include "support/temp_dir.h"

namespace espalier::checkpoint {
namespace {

using arch::Role;

const std::string kGolden = std::string(ESPALIER_SOURCE_DIR "/tests/golden/experts");

Checkpoint golden(const std::string& form) {
  return Checkpoint::survey(kGolden + "_" + form + (form == "gguf" ? "/model.gguf" : ""));
}

// Of every tensor of both, all values.
void expect_same(const Checkpoint& a, const Checkpoint& b) {
  int matrices = 0;
  for (const arch::TensorRef& t : arch::tensors(a.arch(), a.dims())) {
    ASSERT_EQ(a.read(t.spec->role, t.layer), b.read(t.spec->role, t.layer))
        << b.path() << " " << arch::gguf_name(t.spec->role, t.layer);
    matrices += t.is_vector ? 0 : 1;
  }
  EXPECT_EQ(matrices, 2 + 2 * (4 + 4));
}

std::string message_of(const std::string& path) {
  try {
    static_cast<void>(Checkpoint::survey(path));
    return "";
  } catch (const core::Error& e) {
    return e.what();
  }
}

class Experts : public testing::Test {
 protected:
  // A copy to be damaged.
  std::string copy_of(const std::string& form) {
    const std::string out = dir.file(form);
    std::filesystem::copy(kGolden + "_" + form, out,
                          std::filesystem::copy_options::overwrite_existing |
                              std::filesystem::copy_options::recursive);
    return out;
  }
  support::TempDir dir;
};

TEST_F(Experts, EveryFormHasTheSameSizesAndValues) {
  const Checkpoint apart = golden("apart");
  EXPECT_EQ(apart.dims(), golden("stacked").dims());
  EXPECT_EQ(golden("gguf").arch().name, "qwen3moe");
  EXPECT_EQ(golden("gguf").dims().layers, apart.dims().layers);
  expect_same(apart, golden("stacked"));
  expect_same(apart, golden("gguf"));
}

// Any rows, also those that begin in one expert and end in another.
TEST_F(Experts, RowsAreReadAcrossExperts) {
  for (const char* form : {"apart", "stacked", "gguf"}) {
    const Checkpoint source = golden(form);
    for (const Role role : {Role::ffn_up_exps, Role::ffn_down_exps}) {
      const arch::TensorRef t = arch::tensor_ref(source.arch(), source.dims(), role, 1);
      const std::vector<float> all = source.read(role, 1);
      for (std::int64_t begin = 0; begin < t.rows; begin += 5)
        for (const std::int64_t n : {1, 7, 19}) {
          if (begin + n > t.rows) continue;
          std::vector<float> part(static_cast<std::size_t>(n * t.cols));
          source.read_rows(role, 1, begin, n, part.data());
          EXPECT_TRUE(std::equal(part.begin(), part.end(), all.begin() + begin * t.cols))
              << form << " " << begin << " + " << n;
        }
    }
  }
}

TEST_F(Experts, CountsAreThoseOfTransformers) {
  const auto counts = nlohmann::json::parse(core::read_text_file(kGolden + ".json"));
  for (const char* form : {"apart", "mixed"}) {
    const Checkpoint source = golden(form);
    EXPECT_EQ(arch::parameters(source.arch(), source.dims()), counts[form]["parameters"]) << form;
    EXPECT_EQ(arch::active_parameters(source.arch(), source.dims()),
              counts[form]["active_parameters"])
        << form;
  }
}

TEST_F(Experts, KindsDifferFromLayerToLayer) {
  const arch::ModelDims dims = golden("mixed").dims();
  EXPECT_EQ(dims.layers[0][arch::Axis::experts], 5);
  EXPECT_EQ(dims.layers[0][arch::Axis::ffn], 0);
  EXPECT_EQ(dims.layers[1][arch::Axis::experts], 0);
  EXPECT_EQ(dims.layers[1][arch::Axis::ffn], 24);
}

TEST_F(Experts, TheWriterWritesOneTensorForEachExpert) {
  for (const char* form : {"gguf", "stacked"}) {
    import_checkpoint(golden(form), dir.file("out"), {}, {});
    expect_same(golden("apart"), Checkpoint::survey(dir.file("out")));
    support::edit_tensors(dir.file("out"), [](support::RawTensors& tensors) {
      EXPECT_TRUE(tensors.contains("model.layers.1.mlp.experts.4.down_proj.weight"));
    });
  }
}

TEST_F(Experts, DamageIsNamed) {
  const std::string expert = "model.layers.1.mlp.experts.3.up_proj.weight";
  const auto damaged = [&](const char* form, auto&& damage) {
    const std::string path = copy_of(form);
    support::edit_tensors(path, damage);
    return message_of(path);
  };
  using Tensors = support::RawTensors;
  const auto expect = [](const std::string& message, const std::string& part) {
    EXPECT_NE(message.find(part), std::string::npos) << message;
  };
  EXPECT_EQ(damaged("apart", [](Tensors&) {}), "");
  expect(damaged("apart", [&](Tensors& t) { t.erase(expert); }),
         "tensor \"" + expert + "\" is missing");
  expect(damaged("apart", [&](Tensors& t) { t[expert].shape = {16, 8}; }),
         "tensor \"" + expert + "\" has shape [16, 8], expected [8, 16]");
  expect(damaged("apart", [&](Tensors& t) { t[expert] = t[expert].as(format::FormatId::bf16); }),
         "tensor \"" + expert + "\" is BF16 but ");
  expect(damaged("apart",
                 [](Tensors& t) {
                   t["model.layers.1.mlp.experts.5.up_proj.weight"] =
                       t["model.layers.1.mlp.experts.4.up_proj.weight"];
                 }),
         "experts.5.up_proj.weight\" [8, 16] is not part of architecture qwen3moe");
  expect(
      damaged("stacked",
              [](Tensors& t) { t["model.layers.0.mlp.experts.gate_up_proj"].shape = {5, 8, 32}; }),
      "gate_up_proj\" has shape [5, 8, 32], expected [5, 16, 16]");
  // A value that is not finite is named with its tensor.
  for (const auto& [form, tensor, place] :
       {std::tuple{"apart", expert, "[2, 1]"},
        std::tuple{"stacked", std::string("model.layers.1.mlp.experts.gate_up_proj"), "[2, 1]"}}) {
    const std::string path = support::set_value(copy_of(form), tensor, 2 * 16 + 1, NAN);
    try {
      const Checkpoint source = Checkpoint::survey(path);
      static_cast<void>(source.read(Role::ffn_gate_exps, 1));
      static_cast<void>(source.read(Role::ffn_up_exps, 1));
      ADD_FAILURE() << form;
    } catch (const core::Error& e) {
      expect(e.what(), "tensor " + tensor + place + " is nan");
    }
  }
}

// A config may promise more experts than any file can hold.
TEST_F(Experts, AHugeNumberOfExpertsIsRefusedAtOnce) {
  const std::string path = copy_of("apart");
  auto config = nlohmann::ordered_json::parse(core::read_text_file(path + "/config.json"));
  config["num_local_experts"] = 1 << 20;
  core::write_text_file(path + "/config.json", config.dump());
  const std::string message = message_of(path);
  EXPECT_NE(message.find("experts.1048575.gate_proj.weight\" is missing, and others before it"),
            std::string::npos)
      << message;
}

TEST_F(Experts, OpeningRefusesWhatIsNotComputed) {
  for (const char* form : {"apart", "stacked", "mixed", "gguf/model.gguf"}) {
    const std::string path = kGolden + "_" + form;
    try {
      static_cast<void>(Checkpoint::open(path));
      ADD_FAILURE() << form;
    } catch (const core::Error& e) {
      EXPECT_EQ(e.kind(), core::ErrorKind::unsupported);
      EXPECT_EQ(std::string(e.what()),
                path +
                    ": layers with experts, as in this qwen3moe, can be inspected and planned, "
                    "but are not computed yet");
    }
  }
}

}  // namespace
}  // namespace espalier::checkpoint
