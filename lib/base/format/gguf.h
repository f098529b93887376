// SPDX-License-Identifier: Apache-2.0
// GGUF version 3 (and 2), little-endian.
//
//   "GGUF"  u32 version  u64 n_tensors  u64 n_metadata
//   metadata: n x { string key, u32 type, value }          string = u64 length + bytes (UTF-8)
//             array value = u32 element type, u64 count, elements
//   tensors:  n x { string name, u32 n_dims, u64 ne[n_dims], u32 ggml type, u64 offset }
//             ne[0] = row length; offset is relative to the data's start and aligned
//   padding to general.alignment (default 32), then the data
//
// Reading treats the file as hostile. Every count, offset and size is checked against the file
// before anything is allocated. Every refusal names the file and the place.
#pragma once
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "core/file.h"
#include "format/quant_format.h"

namespace espalier::format {

// A metadata value. `type` keeps the width and sign of integers, so that reading and writing a file
// reproduces its bytes.
enum class GgufType : std::uint32_t {
  u8,
  i8,
  u16,
  i16,
  u32,
  i32,
  f32,
  boolean,
  string,
  array,
  u64,
  i64,
  f64
};

struct GgufArray;
struct GgufValue {
  GgufType type = GgufType::u32;
  std::variant<std::uint64_t, std::int64_t, double, bool, std::string,
               std::shared_ptr<const GgufArray>>
      value;

  static GgufValue u32(std::uint32_t v);
  static GgufValue i32(std::int32_t v);
  static GgufValue u64(std::uint64_t v);
  static GgufValue f32(float v);
  static GgufValue boolean(bool v);
  static GgufValue string(std::string v);
  static GgufValue strings(std::vector<std::string> v);
  static GgufValue i32s(const std::vector<std::int32_t>& v);
  static GgufValue f32s(const std::vector<float>& v);
  static GgufValue bools(const std::vector<bool>& v);
};
struct GgufArray {
  GgufType type = GgufType::u32;     // type of the elements; arrays of arrays are refused
  std::vector<std::string> strings;  // used when type == string
  std::vector<double> numbers;       // used for every other type (u64/i64 beyond 2^53 are refused)
};

struct GgufTensor {
  std::string name;
  std::vector<std::int64_t> ne;  // ne[0] = row length (cols), ne[1] = rows; 1 to 4 dimensions
  FormatId format = FormatId::f32;
  std::uint64_t offset = 0;  // absolute, in the file
  std::uint64_t bytes = 0;
  std::size_t part = 0;  // of a split model: which of its files
  std::int64_t cols() const { return ne.empty() ? 1 : ne[0]; }
  std::int64_t rows() const {
    std::int64_t n = 1;
    for (std::size_t i = 1; i < ne.size(); ++i) n *= ne[i];
    return n;
  }
};

// The header of a file: its metadata, and where the bytes of each tensor are. The caller reads
// tensor data through FileReader or MappedFile.
class GgufHeader {
 public:
  // Of one file. gguf_files.h opens a model, which may have several.
  static GgufHeader read(const core::FileReader& file);
  // Adds the tensors of the next part of the same model. Error(input) for a name that is there.
  void join(GgufHeader part);

  const std::string& path() const { return path_; }
  // In file order.
  const std::vector<std::pair<std::string, GgufValue>>& metadata() const { return metadata_; }
  const GgufValue* find(std::string_view key) const;  // nullptr when absent
  // Typed access. The required form throws Error(input) naming the path, the key and the type
  // found.
  std::int64_t integer(std::string_view key) const;
  std::optional<std::int64_t> optional_integer(std::string_view key) const;
  double real(std::string_view key) const;
  std::optional<double> optional_real(std::string_view key) const;
  const std::string& text(std::string_view key) const;
  std::optional<std::string> optional_text(std::string_view key) const;
  std::optional<bool> optional_boolean(std::string_view key) const;
  const GgufArray& array(std::string_view key) const;
  const GgufArray* optional_array(std::string_view key) const;

  const std::vector<GgufTensor>& tensors() const { return tensors_; }
  const GgufTensor* tensor(std::string_view name) const;  // nullptr when absent
  // Where the tensors of a part begin.
  std::uint64_t data_offset(std::size_t part = 0) const { return data_offsets_[part]; }
  std::size_t n_parts() const { return data_offsets_.size(); }
  std::uint32_t alignment() const { return alignment_; }

 private:
  std::string path_;
  std::vector<std::pair<std::string, GgufValue>> metadata_;
  std::map<std::string, std::size_t, std::less<>> key_index_, tensor_index_;
  std::vector<GgufTensor> tensors_;
  std::vector<std::uint64_t> data_offsets_{0};
  std::uint32_t alignment_ = 32;
};

// Writes version 3. Call set() and add_tensor() in any order, then begin(). Then write the bytes of
// every tensor in the order added, in any number of pieces. finish() renames the temporary files
// into place.
//
// A file of more than `part_bytes` (0: no limit) becomes a split model, whose parts are named after
// `path` (core/parts.h). Error(usage) where a part cannot be so small.
class GgufWriter {
 public:
  explicit GgufWriter(std::string path, std::uint32_t alignment = 32, std::uint64_t part_bytes = 0);
  ~GgufWriter();
  void set(std::string key, GgufValue value);  // replaces an earlier value of the key
  bool has(std::string_view key) const;
  void add_tensor(std::string name, std::vector<std::int64_t> ne, FormatId format);
  std::uint64_t planned_bytes() const;     // size of all files
  std::vector<std::string> paths() const;  // of all files
  void begin();
  void write(std::span<const std::byte> bytes);
  // Error(internal) unless every tensor is complete. A split model appears with its first part.
  void finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace espalier::format
