// SPDX-License-Identifier: Apache-2.0
// Fields of a Protocol Buffers message, one after another, from bytes that may be hostile: every
// length is checked against what is left before it is used, and nothing is copied.
//
//   message:  { key field }*            key: varint of (number << 3 | type)
//   type 0:   varint, 7 bits a byte, low bits first, the top bit says that more follow (at most 10 bytes)
//   type 1:   8 bytes     type 5:   4 bytes, both little-endian
//   type 2:   varint of a length, and so many bytes (text, messages)
//
// Groups (types 3 and 4) are refused: proto2 files of today have none.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace espalier::text {

struct WireField {
  std::uint32_t number = 0;
  std::uint32_t type = 0;
  std::uint64_t value = 0;      // types 0, 1 and 5
  std::string_view bytes = {};  // type 2
  std::size_t offset = 0;       // of the key in the file, for messages
};

class WireReader {
 public:
  // `start`: where `bytes` begin in the file `path`. Both views must outlive this.
  WireReader(std::string_view bytes, std::string_view path, std::size_t start = 0)
      : bytes_(bytes), path_(path), start_(start) {}
  // False at the end of the message. Error(input) names path and offset.
  bool next(WireField& field);

  // The field's content, Error(input) when it is of another type. `name`: of the field, for
  // messages.
  bool boolean(const WireField& field, const char* name) const;
  std::int32_t int32(const WireField& field, const char* name) const;
  float float32(const WireField& field, const char* name) const;
  std::string_view text(const WireField& field, const char* name) const;
  WireReader message(const WireField& field, const char* name) const;

 private:
  std::uint64_t varint(const char* what);
  std::string_view take(std::uint64_t n, const char* what);
  void require_type(const WireField& field, std::uint32_t type, const char* name) const;

  std::string_view bytes_, path_;
  std::size_t start_, position_ = 0;
};

}  // namespace espalier::text
