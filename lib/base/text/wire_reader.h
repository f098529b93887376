// SPDX-License-Identifier: Apache-2.0
// Reads the fields of a Protocol Buffers message one after another, from untrusted bytes. Every
// length is checked against the remaining bytes before it is used. Nothing is copied.
//
//   message:  { key field }*            key: varint of (number << 3 | type)
//   type 0:   varint, 7 bits a byte, low bits first (at most 10 bytes);
//             the top bit says that more bytes follow
//   type 1:   8 bytes     type 5:   4 bytes, both little-endian
//   type 2:   varint of a length, then that number of bytes (text, messages)
//
// Groups (types 3 and 4) are refused, because current proto2 files have none.
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
  std::size_t offset = 0;       // offset of the key in the file, for messages
};

class WireReader {
 public:
  // `bytes` begin at offset `start` of the file `path`. Both views must outlive this object.
  WireReader(std::string_view bytes, std::string_view path, std::size_t start = 0)
      : bytes_(bytes), path_(path), start_(start) {}
  // Reads the next field. Returns false at the end of the message. Error(input) names path and
  // offset.
  bool next(WireField& field);

  // The content of the field. Error(input) when it has another type. `name` is the field's name for
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
