// SPDX-License-Identifier: Apache-2.0
// Splits a byte stream at characters and stop strings.
#include "runtime/text_stream.h"

#include <algorithm>
#include <utility>

#include "core/error.h"
#include "text/utf8.h"

namespace espalier::runtime {
namespace {

// The number of bytes of a character that begins with `lead`. 1 for bytes that cannot begin a
// character.
std::size_t character_length(unsigned char lead) {
  if (lead >= 0xC2 && lead <= 0xDF) return 2;
  if (lead >= 0xE0 && lead <= 0xEF) return 3;
  if (lead >= 0xF0 && lead <= 0xF4) return 4;
  return 1;
}

// The length of the longest prefix of text[0, end) that ends between characters. Only the last
// three bytes can belong to an incomplete character.
std::size_t whole_characters(std::string_view text, std::size_t end) {
  for (std::size_t back = 1; back <= std::min<std::size_t>(3, end); ++back) {
    const unsigned char c = static_cast<unsigned char>(text[end - back]);
    if ((c & 0xC0) == 0x80) continue;
    return character_length(c) > back ? end - back : end;
  }
  return end;
}

}  // namespace

TextStream::TextStream(std::vector<std::string> stops) : stops_(std::move(stops)) {
  for (const std::string& stop : stops_)
    ESP_CHECK(!stop.empty(), usage,
              "--stop: an empty string would end every text at once; give a string");
}

std::string TextStream::take(std::size_t n) {
  std::string out = text::replace_broken_utf8(std::string_view(held_).substr(0, n));
  held_.erase(0, n);
  return out;
}

std::string TextStream::push(std::string_view bytes) {
  if (stopped()) return {};
  // Byte by byte, so that the stop string that ends first wins. Of those that end together, the
  // longest wins.
  for (const char byte : bytes) {
    held_ += byte;
    for (const std::string& stop : stops_)
      if (stop.size() > matched_.size() && held_.ends_with(stop)) matched_ = stop;
    if (!stopped()) continue;
    std::string out = take(held_.size() - matched_.size());
    held_.clear();
    return out;
  }
  // Holds back the longest suffix of the text that begins a stop string.
  std::size_t open = 0;
  for (const std::string& stop : stops_)
    for (std::size_t n = std::min(stop.size() - 1, held_.size()); n > open; --n)
      if (std::string_view(held_).ends_with(std::string_view(stop).substr(0, n))) open = n;
  return take(whole_characters(held_, held_.size() - open));
}

std::string TextStream::finish() { return take(held_.size()); }

}  // namespace espalier::runtime
