// SPDX-License-Identifier: Apache-2.0
// The contents of the character classes, and their substitution in patterns.
#include "text/unicode_classes.h"

#include <array>
#include <utility>

#include "core/error.h"

namespace espalier::text {
namespace {

const std::string kSpace =
    R"(\t-\r \x{85}\x{A0}\x{1680}\x{2000}-\x{200A}\x{2028}\x{2029}\x{202F}\x{205F}\x{3000})";

// Letters of Unicode 15 and 16.
const std::string kNewUpper = R"(\x{1C89}\x{A7CB}\x{A7CC}\x{A7DA}\x{A7DC}\x{10D50}-\x{10D65})";
const std::string kNewLower = R"(\x{1C8A}\x{A7CD}\x{A7DB}\x{10D70}-\x{10D85}\x{1DF25}-\x{1DF2A})";
const std::string kNewOther =
    R"(\x{105C0}-\x{105F3}\x{10D4A}-\x{10D4F}\x{10D6F}\x{10EC2}-\x{10EC4}\x{1123F}\x{11240}\x{11380}-\x{11389}\x{1138B}\x{1138E})"
    R"(\x{11390}-\x{113B5}\x{113B7}\x{113D1}\x{113D3}\x{11BC0}-\x{11BE0}\x{11F02}\x{11F04}-\x{11F10}\x{11F12}-\x{11F33}\x{1342F})"
    R"(\x{13441}-\x{13446}\x{13460}-\x{143FA}\x{16100}-\x{1611D}\x{16D40}-\x{16D6C}\x{18CFF}\x{1B132}\x{1B155}\x{1E030}-\x{1E06D})"
    R"(\x{1E4D0}-\x{1E4EB}\x{1E5D0}-\x{1E5ED}\x{1E5F0}\x{2B739}\x{2EBF0}-\x{2EE5D}\x{31350}-\x{323AF})";
const std::string kNumber =
    R"(\p{N}\x{10D40}-\x{10D49}\x{116D0}-\x{116E3}\x{11BF0}-\x{11BF9}\x{11F50}-\x{11F59}\x{16130}-\x{16139}\x{16D70}-\x{16D79})"
    R"(\x{1CCF0}-\x{1CCF9}\x{1D2C0}-\x{1D2D3}\x{1E4F0}-\x{1E4F9}\x{1E5F1}-\x{1E5FA})";
const std::string kMark =
    R"(\p{M}\x{897}\x{CF3}\x{ECE}\x{10D69}-\x{10D6D}\x{10EFC}-\x{10EFF}\x{11241}\x{113B8}-\x{113C0}\x{113C2}\x{113C5}\x{113C7}-\x{113CA})"
    R"(\x{113CC}-\x{113D0}\x{113D2}\x{113E1}\x{113E2}\x{11F00}\x{11F01}\x{11F03}\x{11F34}-\x{11F3A}\x{11F3E}-\x{11F42}\x{11F5A}\x{13440})"
    R"(\x{13447}-\x{13455}\x{1611E}-\x{1612F}\x{1E08F}\x{1E4EC}-\x{1E4EF}\x{1E5EE}\x{1E5EF})";

struct Class {
  std::string_view name;
  std::string inside;
  bool negated = false;
};

const std::array<Class, 10>& classes() {
  static const std::array<Class, 10> all = {
      Class{"\\s", kSpace},
      Class{"\\S", kSpace, true},
      Class{"\\p{L}", "\\p{L}" + kNewUpper + kNewLower + kNewOther},
      Class{"\\p{Lu}", "\\p{Lu}" + kNewUpper},
      Class{"\\p{Ll}", "\\p{Ll}" + kNewLower},
      Class{"\\p{Lt}", "\\p{Lt}"},
      Class{"\\p{Lm}", "\\p{Lm}"},
      Class{"\\p{Lo}", "\\p{Lo}" + kNewOther},
      Class{"\\p{M}", kMark},
      Class{"\\p{N}", kNumber},
  };
  return all;
}

const Class* class_at(std::string_view pattern) {
  for (const Class& c : classes()) {
    if (pattern.starts_with(c.name)) return &c;
  }
  return nullptr;
}

}  // namespace

std::string spell_classes(std::string_view pattern) {
  std::string out;
  bool inside = false;
  for (std::size_t i = 0; i < pattern.size();) {
    if (const Class* found = class_at(pattern.substr(i))) {
      ESP_CHECK(!(inside && found->negated), internal,
                "\\S inside a class of the regular expression ", pattern);
      out += inside ? found->inside : (found->negated ? "[^" : "[") + found->inside + "]";
      i += found->name.size();
      continue;
    }
    const std::size_t length = pattern[i] == '\\' && i + 1 < pattern.size() ? 2 : 1;
    if (pattern[i] == '[') inside = true;
    if (pattern[i] == ']') inside = false;
    out += pattern.substr(i, length);
    i += length;
  }
  return out;
}

const std::string& digit_class() {
  static const std::string digits = "[" + kNumber + R"(\x{11DE0}-\x{11DE9}\x{16FF4}-\x{16FF6}])";
  return digits;
}

}  // namespace espalier::text
