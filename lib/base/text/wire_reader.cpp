// SPDX-License-Identifier: Apache-2.0
// Decoding of Protocol Buffers fields, with every length checked.
#include "text/wire_reader.h"

#include <bit>
#include <limits>

#include "core/error.h"

namespace espalier::text {
namespace {

enum WireType : std::uint32_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };
constexpr std::uint64_t kMaxNumber = (std::uint64_t{1} << 29) - 1;

std::uint64_t little_endian(std::string_view bytes) {
  std::uint64_t value = 0;
  for (std::size_t i = bytes.size(); i-- > 0;)
    value = (value << 8) | static_cast<unsigned char>(bytes[i]);
  return value;
}

}  // namespace

std::uint64_t WireReader::varint(const char* what) {
  const std::size_t begin = position_;
  std::uint64_t value = 0;
  for (unsigned shift = 0; shift < 64; shift += 7) {
    ESP_CHECK(position_ < bytes_.size(), input, path_, ": byte ", start_ + begin,
              ": the file ends inside ", what);
    const auto byte = static_cast<unsigned char>(bytes_[position_++]);
    ESP_CHECK(shift < 63 || byte <= 1, input, path_, ": byte ", start_ + begin, ": ", what,
              " is a number of more than 64 bits");
    value |= static_cast<std::uint64_t>(byte & 0x7F) << shift;
    if (byte < 0x80) return value;
  }
  core::fail(core::ErrorKind::internal, path_, ": byte ", start_ + begin,
             ": a number without end");  // the tenth byte is 0 or 1
}

std::string_view WireReader::take(std::uint64_t n, const char* what) {
  const std::size_t left = bytes_.size() - position_;
  ESP_CHECK(n <= left, input, path_, ": byte ", start_ + position_, ": ", what, " has ", n,
            " bytes, but ", left, " are left");
  const std::string_view taken = bytes_.substr(position_, static_cast<std::size_t>(n));
  position_ += taken.size();
  return taken;
}

bool WireReader::next(WireField& field) {
  if (position_ == bytes_.size()) return false;
  field = {};
  field.offset = start_ + position_;
  const std::uint64_t key = varint("the key of a field");
  ESP_CHECK(key >> 3 >= 1 && key >> 3 <= kMaxNumber, input, path_, ": byte ", field.offset,
            ": field number ", key >> 3, " does not exist in Protocol Buffers");
  field.number = static_cast<std::uint32_t>(key >> 3);
  field.type = static_cast<std::uint32_t>(key & 7);
  switch (field.type) {
    case kVarint:
      field.value = varint("a number");
      break;
    case kFixed64:
      field.value = little_endian(take(8, "a fixed number"));
      break;
    case kFixed32:
      field.value = little_endian(take(4, "a fixed number"));
      break;
    case kBytes:
      field.bytes = take(varint("a length"), "a field");
      break;
    default:
      core::fail(core::ErrorKind::input, path_, ": byte ", field.offset, ": field ", field.number,
                 " is of wire type ", field.type, ", expected 0, 1, 2 or 5");
  }
  return true;
}

void WireReader::require_type(const WireField& field, std::uint32_t type, const char* name) const {
  ESP_CHECK(field.type == type, input, path_, ": byte ", field.offset, ": ", name,
            " is of wire type ", field.type, ", expected ", type);
}

bool WireReader::boolean(const WireField& field, const char* name) const {
  require_type(field, kVarint, name);
  return field.value != 0;
}

std::int32_t WireReader::int32(const WireField& field, const char* name) const {
  require_type(field, kVarint, name);
  const auto value = static_cast<std::int64_t>(field.value);  // negative numbers use all 64 bits
  ESP_CHECK(value >= std::numeric_limits<std::int32_t>::min() &&
                value <= std::numeric_limits<std::int32_t>::max(),
            input, path_, ": byte ", field.offset, ": ", name, " is ", value, ", outside 32 bits");
  return static_cast<std::int32_t>(value);
}

float WireReader::float32(const WireField& field, const char* name) const {
  require_type(field, kFixed32, name);
  return std::bit_cast<float>(static_cast<std::uint32_t>(field.value));
}

std::string_view WireReader::text(const WireField& field, const char* name) const {
  require_type(field, kBytes, name);
  return field.bytes;
}

WireReader WireReader::message(const WireField& field, const char* name) const {
  require_type(field, kBytes, name);
  return WireReader(field.bytes, path_,
                    start_ + static_cast<std::size_t>(field.bytes.data() - bytes_.data()));
}

}  // namespace espalier::text
