// SPDX-License-Identifier: Apache-2.0
// safetensors: u64 header length (little-endian), JSON header {"name": {"dtype", "shape",
// "data_offsets": [begin, end]}, ...,
// "__metadata__": {string: string}}, then the data. Offsets are relative to the data's start and
// must tile it without gaps. A directory is one model.safetensors, or shards named by
// model.safetensors.index.json. Reading treats files as hostile.
#pragma once
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/file.h"
#include "format/quant_format.h"

namespace espalier::format {

struct SafeTensor {
  std::string name;
  FormatId dtype =
      FormatId::f32;  // F32, F16, BF16; other dtypes are refused with the tensor's name
  std::vector<std::int64_t> shape;  // row-major; empty = scalar
  std::uint64_t offset = 0;         // absolute, in the shard
  std::uint64_t bytes = 0;
  int shard = 0;  // index into SafetensorsSet::shards()
};

// One file or a sharded directory, opened by reading headers alone.
class SafetensorsSet {
 public:
  static SafetensorsSet open_file(const std::string& path);
  static SafetensorsSet open_directory(
      const std::string& directory);  // model.safetensors or the index
  const std::vector<SafeTensor>& tensors() const { return tensors_; }  // sorted by name
  const SafeTensor* find(std::string_view name) const;
  const core::FileReader& shard(int index) const {
    return *shards_[static_cast<std::size_t>(index)];
  }
  int n_shards() const { return static_cast<int>(shards_.size()); }
  // Of all shards; where they differ, the first shard's value.
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  void read(const SafeTensor& tensor, std::uint64_t byte_begin,
            std::span<std::byte> out) const;  // part of one tensor's bytes

 private:
  void add_shard(const std::string& path);
  void finish_index();
  std::vector<std::unique_ptr<core::FileReader>> shards_;
  std::vector<SafeTensor> tensors_;
  std::map<std::string, std::size_t, std::less<>> index_;
  std::map<std::string, std::string> metadata_;
};

// Streaming writer. Shapes are declared first, then bytes follow in that order. With
// max_shard_bytes > 0 it writes model-0000i-of-0000n.safetensors + model.safetensors.index.json
// when the total is larger, else model.safetensors.
class SafetensorsWriter {
 public:
  // One file at `path`.
  explicit SafetensorsWriter(std::string path);
  // model*.safetensors in `directory`.
  SafetensorsWriter(std::string directory, std::uint64_t max_shard_bytes);
  ~SafetensorsWriter();
  void set_metadata(std::string key, std::string value);
  void add_tensor(std::string name, FormatId dtype, std::vector<std::int64_t> shape);
  std::uint64_t data_bytes() const;
  void begin();
  void write(std::span<const std::byte> bytes);
  void finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace espalier::format
