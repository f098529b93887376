// SPDX-License-Identifier: Apache-2.0
// Builds files by hand, right ones and wrong ones: little-endian numbers and GGUF strings in the
// order they are called.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

namespace espalier::format {

class Bytes {
 public:
  template <typename T>
  Bytes& number(T v) {
    text_.append(reinterpret_cast<const char*>(&v), sizeof v);
    return *this;
  }
  Bytes& u8(std::uint8_t v) { return number(v); }
  Bytes& u32(std::uint32_t v) { return number(v); }
  Bytes& u64(std::uint64_t v) { return number(v); }
  Bytes& f32(float v) { return number(v); }
  Bytes& raw(std::string_view text) {
    text_ += text;
    return *this;
  }
  Bytes& string(std::string_view text) { return u64(text.size()).raw(text); }
  Bytes& zeros(std::size_t n) {
    text_.append(n, '\0');
    return *this;
  }
  Bytes& pad(std::size_t alignment) {
    return zeros((alignment - text_.size() % alignment) % alignment);
  }
  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

}  // namespace espalier::format
