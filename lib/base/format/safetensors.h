// SPDX-License-Identifier: Apache-2.0
// safetensors files.
//
//   u64 header length (little-endian)
//   JSON header {"name": {"dtype", "shape", "data_offsets": [begin, end]}, ...,
//                "__metadata__": {string: string}}
//   data: offsets are relative to its start and must tile it without gaps
//
// A directory holds one model.safetensors, or shards that model.safetensors.index.json names.
// Reading treats files as hostile.
#pragma once
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/file.h"
#include "format/quant_format.h"

namespace espalier::format {

struct SafeTensor {
  std::string name;
  std::string stored;               // the dtype as the file calls it: "F32", "F64", "I8", ...
  std::optional<FormatId> dtype;    // of F32, F16 and BF16; nothing for the others
  std::vector<std::int64_t> shape;  // row-major; empty = scalar. An extent may be 0
  std::uint64_t offset = 0;         // absolute, in the shard
  std::uint64_t bytes = 0;
  int shard = 0;  // index into SafetensorsSet::shards()
};

// One file or a sharded directory. Opening it reads only the headers.
class SafetensorsSet {
 public:
  // Which tensors may be there: those with values of F32, F16 or BF16, or any, for a caller that
  // does not use them all.
  enum class Allowed : std::uint8_t { floats, any };
  static SafetensorsSet open_file(const std::string& path, Allowed allowed = Allowed::floats);
  // Opens model.safetensors, or the shards of the index.
  static SafetensorsSet open_directory(const std::string& directory,
                                       Allowed allowed = Allowed::floats);
  const std::vector<SafeTensor>& tensors() const { return tensors_; }  // sorted by name
  const SafeTensor* find(std::string_view name) const;
  const core::FileReader& shard(int index) const {
    return *shards_[static_cast<std::size_t>(index)];
  }
  int n_shards() const { return static_cast<int>(shards_.size()); }
  // Metadata of all shards. Where shards disagree, the first shard's value.
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  // Reads part of the bytes of one tensor.
  void read(const SafeTensor& tensor, std::uint64_t byte_begin, std::span<std::byte> out) const;

 private:
  void add_shard(const std::string& path, Allowed allowed);
  void finish_index();
  std::vector<std::unique_ptr<core::FileReader>> shards_;
  std::vector<SafeTensor> tensors_;
  std::map<std::string, std::size_t, std::less<>> index_;
  std::map<std::string, std::string> metadata_;
};

// A streaming writer. Shapes are declared first, then the bytes follow in that order. With
// max_shard_bytes > 0 and a larger total, it writes model-0000i-of-0000n.safetensors and
// model.safetensors.index.json. Otherwise it writes model.safetensors.
class SafetensorsWriter {
 public:
  // Writes one file at `path`.
  explicit SafetensorsWriter(std::string path);
  // Writes model*.safetensors in `directory`.
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
