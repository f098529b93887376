// SPDX-License-Identifier: Apache-2.0
// Names files of weights by their endings.
#include "checkpoint/absent_weights.h"

#include <algorithm>
#include <filesystem>
#include <string_view>
#include <vector>

#include "core/error.h"

namespace espalier::checkpoint {
namespace {

namespace fs = std::filesystem;

struct Other {
  std::string_view beginning, ending;
  core::ErrorKind kind;
  std::string_view advice;  // behind "the weights are FILE"
};
using core::ErrorKind;
// The first that a file fits counts.
constexpr Other kOthers[] = {
    {"model.safetensors", ".incomplete", ErrorKind::input,
     ", which is not complete; fetch it again"},
    {"model-0", ".safetensors", ErrorKind::input,
     " without model.safetensors.index.json, which says what they hold; fetch that too"},
    {"consolidated", ".safetensors", ErrorKind::unsupported,
     " with names of their own; fetch the model's model.safetensors, or convert them"},
    {"adapter_model", ".safetensors", ErrorKind::input,
     ", an adapter; merge it with espalier import BASE --adapter DIR"},
    {"", ".safetensors", ErrorKind::input, "; rename the file to model.safetensors if it is whole"},
    {"", ".gguf", ErrorKind::input, "; give the file itself"},
    {"", ".bin", ErrorKind::unsupported, "; save them as safetensors first (save_pretrained does)"},
    {"", ".pth", ErrorKind::unsupported,
     "; convert them to the Hugging Face layout in safetensors first"},
    {"", ".pt", ErrorKind::unsupported,
     "; convert them to the Hugging Face layout in safetensors first"},
    {"", ".ckpt", ErrorKind::unsupported,
     "; convert them to the Hugging Face layout in safetensors first"},
    {"", ".msgpack", ErrorKind::unsupported,
     "; save them as safetensors first (from_flax and save_pretrained do)"},
    {"", ".h5", ErrorKind::unsupported,
     "; save them as safetensors first (from_tf and save_pretrained do)"},
    {"", ".onnx", ErrorKind::unsupported, "; fetch the model's safetensors"},
};

}  // namespace

void refuse_absent_weights(const std::string& directory) {
  std::vector<std::string> names;
  std::error_code unreadable;
  for (const auto& entry : fs::directory_iterator(directory, unreadable)) {
    names.push_back(entry.path().filename().string());
    const bool weights =
        names.back() == "model.safetensors" || names.back() == "model.safetensors.index.json";
    ESP_CHECK(!weights, input, entry.path().string(), ": is a link to ",
              fs::read_symlink(entry.path(), unreadable).string(),
              ", which is not there; fetch the model again");
  }
  std::sort(names.begin(), names.end());
  for (const Other& other : kOthers)
    for (const std::string& name : names) {
      const bool fits = name.starts_with(other.beginning) && name.ends_with(other.ending);
      // Settings of a training, in the same format as weights.
      const bool settings = name == "training_args.bin" || name.starts_with("optimizer") ||
                            name.starts_with("scheduler") || name.starts_with("rng_state");
      if (fits && !settings)
        core::fail(other.kind, directory, ": the weights are ", name, other.advice);
    }
  core::fail(ErrorKind::input, directory,
             ": there is neither model.safetensors nor model.safetensors.index.json");
}

}  // namespace espalier::checkpoint
