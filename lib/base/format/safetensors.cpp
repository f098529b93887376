// SPDX-License-Identifier: Apache-2.0
// Reads safetensors: one file, or the shards of an index. The tensors of the shards and of the
// index must be the same set.
#include "format/safetensors.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <filesystem>
#include <set>

#include "core/error.h"
#include "format/known_file.h"
#include "format/safetensors_header.h"

namespace espalier::format {
namespace {

constexpr std::uint64_t kMaxJsonBytes = 100'000'000;  // the limit of the reference implementation
constexpr std::uint64_t kMaxIndexBytes = std::uint64_t{64} << 20;
constexpr std::size_t kMaxShards = 10'000;

static_assert(std::endian::native == std::endian::little,
              "the header length is copied from a little-endian file");

bool exists(const std::string& path) {
  std::error_code ignored;
  return std::filesystem::exists(path, ignored);
}

void require_floats(const std::string& path, const SafeTensor& tensor) {
  ESP_CHECK(tensor.dtype, unsupported, path, ": tensor ", tensor.name, " has dtype ", tensor.stored,
            "; F32, F16 and BF16 are supported");
  ESP_CHECK(tensor.bytes > 0, input, path, ": tensor ", tensor.name,
            " has an extent of 0 in its shape");
}

}  // namespace

void SafetensorsSet::add_shard(const std::string& path, Allowed allowed) {
  auto file = std::make_unique<core::FileReader>(path);
  ESP_CHECK(file->size() >= 8, input, path, ": truncated: ", file->size(),
            " bytes, but a safetensors file starts with an 8-byte length");
  std::uint64_t length = 0;
  file->read(0, std::as_writable_bytes(std::span(&length, 1)));
  if (length > file->size() - 8) refuse_known_file(path);
  ESP_CHECK(length <= file->size() - 8, input, path, ": truncated: the header claims ", length,
            " bytes, ", file->size() - 8, " follow");
  ESP_CHECK(length <= kMaxJsonBytes, input, path, ": the header claims ", length,
            " bytes, but at most ", kMaxJsonBytes, " are accepted");
  std::string json(static_cast<std::size_t>(length), '\0');
  file->read(8, std::as_writable_bytes(std::span(json.data(), json.size())));
  SafetensorsHeader header = parse_safetensors_header(path, json, file->size() - 8 - length);
  for (SafeTensor& tensor : header.tensors) {
    if (allowed == Allowed::floats) require_floats(path, tensor);
    tensor.offset += 8 + length;
    tensor.shard = n_shards();
    tensors_.push_back(std::move(tensor));
  }
  metadata_.merge(header.metadata);
  shards_.push_back(std::move(file));
}

void SafetensorsSet::finish_index() {
  std::sort(tensors_.begin(), tensors_.end(),
            [](const SafeTensor& a, const SafeTensor& b) { return a.name < b.name; });
  for (std::size_t i = 0; i < tensors_.size(); ++i)
    ESP_CHECK(index_.emplace(tensors_[i].name, i).second, input, shard(tensors_[i].shard).path(),
              ": tensor ", tensors_[i].name, " is also in another shard");
}

SafetensorsSet SafetensorsSet::open_file(const std::string& path, Allowed allowed) {
  SafetensorsSet set;
  set.add_shard(path, allowed);
  set.finish_index();
  return set;
}

SafetensorsSet SafetensorsSet::open_directory(const std::string& directory, Allowed allowed) {
  const std::string single = directory + "/model.safetensors", index_path = single + ".index.json";
  if (exists(single)) return open_file(single, allowed);
  ESP_CHECK(exists(index_path), input, directory,
            ": holds neither model.safetensors nor model.safetensors.index.json");
  const std::map<std::string, std::string> placed =
      parse_safetensors_index(index_path, core::read_text_file(index_path, kMaxIndexBytes));
  std::set<std::string> files;
  for (const auto& [name, file] : placed) files.insert(file);
  ESP_CHECK(files.size() <= kMaxShards, unsupported, index_path, ": names ", files.size(),
            " shards, but at most ", kMaxShards, " are supported");
  SafetensorsSet set;
  for (const std::string& file : files) set.add_shard(directory + "/" + file, allowed);
  set.finish_index();
  for (const SafeTensor& tensor : set.tensors_) {
    const std::string& path = set.shard(tensor.shard).path();
    const auto found = placed.find(tensor.name);
    ESP_CHECK(found != placed.end(), input, path, ": holds tensor ", tensor.name, ", which ",
              index_path, " does not list");
    ESP_CHECK(directory + "/" + found->second == path, input, index_path, ": places tensor ",
              tensor.name, " in ", found->second, ", but it is in ", path);
  }
  for (const auto& [name, file] : placed)
    ESP_CHECK(set.find(name) != nullptr, input, index_path, ": lists tensor ", name, ", which ",
              file, " does not hold");
  return set;
}

const SafeTensor* SafetensorsSet::find(std::string_view name) const {
  const auto found = index_.find(name);
  return found == index_.end() ? nullptr : &tensors_[found->second];
}

void SafetensorsSet::read(const SafeTensor& tensor, std::uint64_t byte_begin,
                          std::span<std::byte> out) const {
  const core::FileReader& file = shard(tensor.shard);
  ESP_CHECK(byte_begin <= tensor.bytes && out.size() <= tensor.bytes - byte_begin, internal,
            file.path(), ": tensor ", tensor.name, ": bytes ", byte_begin, " to ",
            byte_begin + out.size(), " wanted of ", tensor.bytes);
  file.read(tensor.offset + byte_begin, out);
}

}  // namespace espalier::format
