// SPDX-License-Identifier: Apache-2.0
// Writes safetensors. All files are temporary until finish(). A set of files cannot be replaced in
// one atomic step.
//
// So finish() first removes what makes the old set look complete: the index, or the single file.
// Then it renames the new files into place, the index last. A process killed in between leaves a
// directory that is refused, never a mix of two models.
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/profile.h"
#include "format/safetensors.h"

namespace espalier::format {
namespace {

using core::ErrorKind;
using Json = nlohmann::ordered_json;
namespace fs = std::filesystem;

constexpr const char* kSingle = "model.safetensors";
constexpr const char* kIndex = "model.safetensors.index.json";

std::string shard_name(std::size_t index, std::size_t count) {
  char text[64];
  std::snprintf(text, sizeof text, "model-%05zu-of-%05zu.safetensors", index + 1, count);
  return text;
}

bool is_shard_name(const std::string& name) {
  unsigned a = 0, b = 0;
  int end = 0;
  return std::sscanf(name.c_str(), "model-%5u-of-%5u.safetensors%n", &a, &b, &end) == 2 &&
         static_cast<std::size_t>(end) == name.size();
}

std::string dump(const std::string& path, const Json& json, int indent) {
  try {
    return json.dump(indent);
    // Names or metadata that are not UTF-8.
  } catch (const Json::exception& e) {
    core::fail(ErrorKind::internal, path, ": cannot write the JSON header: ", e.what());
  }
}

}  // namespace

struct SafetensorsWriter::State {
  std::string path;  // the file, or the directory
  bool directory = false;
  std::uint64_t max_shard_bytes = 0;
  std::map<std::string, std::string> metadata;
  // plan() sets the shard, and the offset within the shard's data.
  std::vector<SafeTensor> tensors;
  std::vector<std::string> paths;  // paths of the shards
  std::vector<std::unique_ptr<core::AtomicFile>> files;
  std::size_t current = 0;    // index of the tensor being written
  std::uint64_t written = 0;  // bytes of that tensor written so far
  bool begun = false;

  void plan() {
    std::uint64_t total = 0, in_shard = 0;
    for (const SafeTensor& tensor : tensors) total += tensor.bytes;
    const bool split = directory && max_shard_bytes > 0 && total > max_shard_bytes;
    int shard = 0;
    for (SafeTensor& tensor : tensors) {
      if (split && in_shard > 0 &&
          tensor.bytes > max_shard_bytes - std::min(in_shard, max_shard_bytes)) {
        ++shard;
        in_shard = 0;
      }
      tensor.shard = shard;
      tensor.offset = in_shard;
      in_shard += tensor.bytes;
    }
    const std::size_t count = static_cast<std::size_t>(shard) + 1;
    for (std::size_t i = 0; i < count; ++i)
      paths.push_back(!directory ? path
                                 : path + "/" + (count == 1 ? kSingle : shard_name(i, count)));
  }
  // Length, JSON, and spaces up to a multiple of 8, so that the data is aligned.
  std::string header(int shard) const {
    Json json = Json::object();
    if (!metadata.empty()) json["__metadata__"] = metadata;
    for (const SafeTensor& tensor : tensors) {
      if (tensor.shard != shard) continue;
      json[tensor.name] = {{"dtype", tensor.stored},
                           {"shape", tensor.shape},
                           {"data_offsets", {tensor.offset, tensor.offset + tensor.bytes}}};
    }
    std::string text = dump(paths[static_cast<std::size_t>(shard)], json, -1);
    text.append((8 - text.size() % 8) % 8, ' ');
    const std::uint64_t length = text.size();
    return std::string(reinterpret_cast<const char*>(&length), sizeof length) + text;
  }
  std::string index() const {
    Json json = Json::object();
    std::uint64_t total = 0;
    std::map<std::string, std::string> placed;
    for (const SafeTensor& tensor : tensors) {
      total += tensor.bytes;
      placed[tensor.name] =
          fs::path(paths[static_cast<std::size_t>(tensor.shard)]).filename().string();
    }
    json["metadata"]["total_size"] = total;
    json["weight_map"] = placed;
    return dump(path + "/" + kIndex, json, 2) + "\n";
  }
  void open_current() {
    const std::size_t shard =
        static_cast<std::size_t>(tensors.empty() ? 0 : tensors[current].shard);
    while (files.size() <= shard) {
      files.push_back(std::make_unique<core::AtomicFile>(paths[files.size()]));
      files.back()->write(header(static_cast<int>(files.size()) - 1));
    }
  }
  void remove(const std::string& file) const {
    std::error_code error;
    fs::remove(file, error);
    ESP_CHECK(!error, input, file, ": cannot remove: ", error.message());
  }
  void remove_old_shards() const {
    std::vector<std::string> old;
    for (const auto& entry : fs::directory_iterator(path)) {
      const std::string file = path + "/" + entry.path().filename().string();
      if (is_shard_name(entry.path().filename().string()) &&
          std::find(paths.begin(), paths.end(), file) == paths.end())
        old.push_back(file);
    }
    for (const std::string& file : old) remove(file);
  }
};

SafetensorsWriter::SafetensorsWriter(std::string path) : state_(std::make_unique<State>()) {
  state_->path = std::move(path);
}
SafetensorsWriter::SafetensorsWriter(std::string directory, std::uint64_t max_shard_bytes)
    : state_(std::make_unique<State>()) {
  state_->path = std::move(directory);
  state_->directory = true;
  state_->max_shard_bytes = max_shard_bytes;
}
SafetensorsWriter::~SafetensorsWriter() = default;

void SafetensorsWriter::set_metadata(std::string key, std::string value) {
  ESP_CHECK(!state_->begun, internal, state_->path, ": metadata ", key, " set after begin()");
  state_->metadata[std::move(key)] = std::move(value);
}

void SafetensorsWriter::add_tensor(std::string name, FormatId dtype,
                                   std::vector<std::int64_t> shape) {
  State& s = *state_;
  ESP_CHECK(!s.begun, internal, s.path, ": tensor ", name, " added after begin()");
  ESP_CHECK(!name.empty() && name != "__metadata__", internal, s.path, ": '", name,
            "' cannot be a tensor's name");
  ESP_CHECK(info(dtype).is_float(), unsupported, s.path, ": tensor ", name,
            ": safetensors holds f32, f16 and bf16, not ", info(dtype).name);
  for (const SafeTensor& other : s.tensors)
    ESP_CHECK(other.name != name, internal, s.path, ": tensor ", name, " added twice");
  std::string stored(info(dtype).name);
  std::transform(stored.begin(), stored.end(), stored.begin(),
                 [](char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c; });
  SafeTensor tensor{.name = std::move(name),
                    .stored = std::move(stored),
                    .dtype = dtype,
                    .shape = std::move(shape),
                    .bytes = static_cast<std::uint64_t>(info(dtype).block_bytes)};
  for (const std::int64_t extent : tensor.shape) {
    const bool fits = extent >= 1 &&
                      static_cast<std::uint64_t>(extent) <= (std::uint64_t{1} << 62) / tensor.bytes;
    ESP_CHECK(fits, internal, s.path, ": tensor ", tensor.name, " has extent ", extent);
    tensor.bytes *= static_cast<std::uint64_t>(extent);
  }
  s.tensors.push_back(std::move(tensor));
}

std::uint64_t SafetensorsWriter::data_bytes() const {
  std::uint64_t sum = 0;
  for (const SafeTensor& tensor : state_->tensors) sum += tensor.bytes;
  return sum;
}

void SafetensorsWriter::begin() {
  State& s = *state_;
  ESP_CHECK(!s.begun, internal, s.path, ": begin() called twice");
  const std::string parent = s.directory ? s.path : fs::path(s.path).parent_path().string();
  s.plan();
  std::uint64_t headers = 0;
  for (std::size_t i = 0; i < s.paths.size(); ++i) headers += s.header(static_cast<int>(i)).size();
  core::require_free_disk(parent.empty() ? "." : parent, data_bytes() + headers);
  s.begun = true;
  s.open_current();
}

void SafetensorsWriter::write(std::span<const std::byte> bytes) {
  const core::Section section("write");
  State& s = *state_;
  ESP_CHECK(s.begun, internal, s.path, ": write() before begin()");
  if (bytes.empty()) return;
  ESP_CHECK(s.current < s.tensors.size(), internal, s.path, ": ", bytes.size(),
            " bytes written after the last tensor");
  const SafeTensor& tensor = s.tensors[s.current];
  ESP_CHECK(bytes.size() <= tensor.bytes - s.written, internal, s.path, ": tensor ", tensor.name,
            " takes ", tensor.bytes, " bytes, got ", s.written + bytes.size());
  if (s.written == 0) s.open_current();
  s.files.back()->write(bytes);
  s.written += bytes.size();
  if (s.written < tensor.bytes) return;
  ++s.current;
  s.written = 0;
}

void SafetensorsWriter::finish() {
  State& s = *state_;
  ESP_CHECK(s.begun && !s.files.empty(), internal, s.path,
            ": finish() before begin(), or called twice");
  ESP_CHECK(s.current == s.tensors.size(), internal, s.path, ": tensor ", s.tensors[s.current].name,
            " is incomplete: ", s.written, " of ", s.tensors[s.current].bytes, " bytes");
  const bool sharded = s.files.size() > 1;
  // Flushes the file. A full disk must show before anything old is removed.
  for (const auto& file : s.files) file->write_at(0, {});
  if (sharded) {
    s.remove(s.path + "/" + kIndex);
    s.remove(s.path + "/" + kSingle);
  }
  for (const auto& file : s.files) file->commit();
  s.files.clear();
  if (!s.directory) return;
  if (sharded)
    core::write_text_file(s.path + "/" + kIndex, s.index());
  else
    s.remove(s.path + "/" + kIndex);
  s.remove_old_shards();
}

}  // namespace espalier::format
