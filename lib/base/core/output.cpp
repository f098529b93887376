// SPDX-License-Identifier: Apache-2.0
// Outputs by device and inode, and access to the folder that holds them.
#include "core/output.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include "core/error.h"
#include "core/file.h"
#include "core/parts.h"

namespace espalier::core {
namespace {
namespace fs = std::filesystem;

// Whether a model directory would be another model without the file. What a user keeps there for
// himself, such as a GGUF made from it or a device card, may be replaced.
bool belongs_to_model(const fs::path& file) {
  static const char* const endings[] = {".safetensors", ".model",    ".jinja",
                                        ".py",          ".tiktoken", ".txt"};
  static const char* const names[] = {"config.json",
                                      "generation_config.json",
                                      "preprocessor_config.json",
                                      "tokenizer.json",
                                      "tokenizer_config.json",
                                      "special_tokens_map.json",
                                      "added_tokens.json",
                                      "vocab.json",
                                      "tekken.json",
                                      "chat_template.json",
                                      "model.safetensors.index.json",
                                      "manifest.json"};
  const std::string name = file.filename().string();
  return std::any_of(std::begin(endings), std::end(endings),
                     [&](const char* e) { return name.ends_with(e); }) ||
         std::find(std::begin(names), std::end(names), name) != std::end(names);
}

// A directory of a model or an adapter. Every other folder is read with all that is below it.
bool is_model_directory(const fs::path& folder) {
  std::error_code error;
  return fs::exists(folder / "config.json", error) ||
         fs::exists(folder / "adapter_config.json", error);
}

// The folder itself, or the nearest one above it that exists, has to take a new entry.
void require_writable_folder(fs::path folder, const std::string& path) {
  std::error_code error;
  if (folder.empty()) folder = ".";
  while (!fs::exists(folder, error) && folder != folder.parent_path())
    folder = folder.has_parent_path() ? folder.parent_path() : fs::path(".");
  ESP_CHECK(fs::is_directory(folder, error), input, path, ": cannot write: ", folder.string(),
            " is not a directory");
  ESP_CHECK(::access(folder.c_str(), W_OK | X_OK) == 0, input, path, ": cannot write in ",
            folder.string(), ": ", std::strerror(errno), "; choose another output");
}

}  // namespace

bool lies_in(const std::string& path, const std::string& folder) {
  std::error_code error;
  const auto whole = [&](const std::string& p) {
    return fs::weakly_canonical(fs::absolute(p, error), error);
  };
  const fs::path inside = whole(path).lexically_relative(whole(folder));
  return !inside.empty() && *inside.begin() != "..";
}

void require_not_input(const std::string& out, const std::vector<std::string>& inputs) {
  for (const std::string& in : inputs) {
    if (out.empty() || in.empty()) continue;
    for (const std::string& part : with_parts(in))
      ESP_CHECK(!same_file(out, part), usage, out,
                ": the output is an input; choose another output");
    std::error_code error;
    if (!fs::is_directory(in, error)) continue;
    if (!is_model_directory(in)) {
      ESP_CHECK(!lies_in(out, in), usage, out, ": the output lies in the folder ", in,
                ", all of which is read; choose another output");
      for (fs::recursive_directory_iterator it(in, error), end; !error && it != end;
           it.increment(error))
        ESP_CHECK(!same_file(out, it->path().string()), usage, out,
                  ": the output is a file of the input ", in, "; choose another output");
      continue;
    }
    for (fs::directory_iterator it(in, error), end; !error && it != end; it.increment(error))
      ESP_CHECK(!belongs_to_model(it->path()) || !same_file(out, it->path().string()), usage, out,
                ": the output is a file of the input ", in, "; choose another output");
  }
}

void require_writable_file(const std::string& path) {
  std::error_code error;
  ESP_CHECK(!path.empty(), usage, "the output has no name; name the file to write");
  ESP_CHECK(!fs::is_directory(path, error), usage, path,
            ": is a directory; name the file to write");
  ESP_CHECK(!fs::exists(path, error) || fs::is_regular_file(path, error), input, path,
            ": is not a regular file; name a file to write");
  require_writable_folder(fs::path(path).parent_path(), path);
}

void require_writable_directory(const std::string& path) {
  ESP_CHECK(!path.empty(), usage, "the output has no name; name the directory to write");
  require_writable_folder(path, path);
}

void make_directory(const std::string& path) {
  std::error_code error;
  fs::create_directories(path, error);
  ESP_CHECK(!error, input, path, ": cannot create the directory: ", error.message());
}

}  // namespace espalier::core
