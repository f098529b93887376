// SPDX-License-Identifier: Apache-2.0
// The character classes in the regular expressions of Hugging Face tokenizers: letters, marks and
// numbers of Unicode 16, and White_Space. They are spelled out so that they do not depend on
// PCRE2's version of Unicode. PCRE2's \s alone would also match U+180E, and scripts newer than
// Unicode 14 would count as punctuation.
#pragma once
#include <string>
#include <string_view>

namespace espalier::text {

// `pattern` with \s, \S, \p{L}, \p{Lu}, \p{Ll}, \p{Lt}, \p{Lm}, \p{Lo}, \p{M} and \p{N} replaced by
// explicit classes. \p{Lm} and \p{Lo} are exact only together: modifier letters that Unicode 14
// lacks are classified as other letters.
std::string spell_classes(std::string_view pattern);
// The digits of the separate digit splitter in tokenizer.json. It counts two blocks of Unicode 17
// in addition to \p{N}.
const std::string& digit_class();

}  // namespace espalier::text
