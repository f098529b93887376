// SPDX-License-Identifier: Apache-2.0
// Bytes of tokens in, text out: whole UTF-8 characters only, and nothing of a stop string. What may
// yet become a character or a stop string is held back. The text does not depend on how its bytes
// were cut into pieces.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace espalier::runtime {

class TextStream {
 public:
  // Error(usage) for an empty stop string.
  explicit TextStream(std::vector<std::string> stops = {});

  // The text that is certain now, always valid UTF-8: bytes that cannot become a character are
  // U+FFFD. Once stopped(), nothing more comes.
  std::string push(std::string_view bytes);
  std::string finish();  // what is left
  bool stopped() const {
    return !matched_.empty();
  }  // a stop string was met: the text ended before it
  const std::string& matched() const { return matched_; }

 private:
  std::string take(std::size_t n);

  std::vector<std::string> stops_;
  std::string held_, matched_;
};

}  // namespace espalier::runtime
