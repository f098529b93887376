// SPDX-License-Identifier: Apache-2.0
// Takes bytes of tokens and returns text: whole UTF-8 characters only, and no part of a stop
// string. Bytes that may still become a character or a stop string are held back. The text does not
// depend on how its bytes were cut into pieces.
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

  // Returns the text that is final now. It is always valid UTF-8: bytes that cannot become a
  // character are U+FFFD. After stopped(), returns nothing more.
  std::string push(std::string_view bytes);
  std::string finish();  // returns what is left
  // A stop string was found. The text ended before it.
  bool stopped() const { return !matched_.empty(); }
  const std::string& matched() const { return matched_; }

 private:
  std::string take(std::size_t n);

  std::vector<std::string> stops_;
  std::string held_, matched_;
};

}  // namespace espalier::runtime
