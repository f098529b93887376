// SPDX-License-Identifier: Apache-2.0
// Any bytes as one of the JSON files that users hand in. The first byte says which:
//   'c' config.json    'p' a pruning plan    'q' a quantization plan    'm' a manifest
// Read or refused with an Error; what is read is written and read again as the same.
#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "checkpoint/checkpoint.h"
#include "checkpoint/manifest.h"
#include "core/file.h"
#include "fuzz/refusal.h"
#include "plan/prune_plan.h"
#include "plan/quant_plan.h"
#include "support/layer_sizes.h"

namespace {

using namespace espalier;
using fuzz::require;

const arch::Arch& llama() { return *arch::arch_by_gguf_name("llama"); }
arch::ModelDims small_dims() {
  arch::ModelDims dims;
  dims.vocab = 320;
  dims.hidden = 64;
  dims.head_dim = 16;
  dims.positions = 128;
  dims.layers.assign(3, support::layer_sizes(3, 2, 96));
  dims.tied = true;
  return dims;
}

void read_config(const std::string& text) {
  const checkpoint::ParsedConfig parsed = checkpoint::parse_hf_config(text, "config.json");
  const std::string written =
      checkpoint::make_hf_config(*parsed.arch, parsed.dims, text, format::FormatId::f32, nullptr);
  require(checkpoint::parse_hf_config(written, "written").dims == parsed.dims);
}

void read_prune_plan(const std::string& text) {
  static const arch::ModelDims dims = small_dims();
  const plan::PrunePlan read = plan::prune_plan_from_json(text, dims, "plan.json");
  const std::string written = plan::to_json(read, llama(), dims);
  require(plan::to_json(plan::prune_plan_from_json(written, dims, "written"), llama(), dims) ==
          written);
}

void read_quant_plan(const std::string& text) {
  static const arch::ModelDims dims = small_dims();
  const plan::QuantPlan read = plan::quant_plan_from_json(text, llama(), dims, "plan.json");
  const std::string written = plan::to_json(read);
  require(plan::to_json(plan::quant_plan_from_json(written, llama(), dims, "written")) == written);
}

void read_manifest(const std::string& text) {
  static const std::string directory = [] {
    const std::string path = (std::filesystem::temp_directory_path() /
                              ("espalier-json-fuzz-" + std::to_string(::getpid())))
                                 .string();
    std::filesystem::create_directories(path);
    return path;
  }();
  core::write_text_file(directory + "/manifest.json", text);
  const checkpoint::Manifest read = checkpoint::read_manifest(directory);
  checkpoint::write_manifest(directory, read);
  const checkpoint::Manifest again = checkpoint::read_manifest(directory);
  require(again.stage == read.stage && again.inputs == read.inputs &&
          again.outputs == read.outputs);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string text(reinterpret_cast<const char*>(data) + 1, size - 1);
  fuzz::allow_refusal([&] {
    switch (data[0]) {
      case 'c':
        read_config(text);
        break;
      case 'p':
        read_prune_plan(text);
        break;
      case 'q':
        read_quant_plan(text);
        break;
      case 'm':
        read_manifest(text);
        break;
      default:
        break;
    }
  });
  return 0;
}
