// SPDX-License-Identifier: Apache-2.0
// The character classes of the Hugging Face tokenizers' regular expressions (Unicode 16 letters,
// marks and numbers, White_Space), spelled out so that they are the same whatever version of
// Unicode the PCRE2 at hand knows: \s alone would also take U+180E, and scripts newer than Unicode
// 14 would count as punctuation.
#pragma once
#include <string>
#include <string_view>

namespace espalier::text {

// `pattern` with \s, \S, \p{L}, \p{Lu}, \p{Ll}, \p{Lt}, \p{Lm}, \p{Lo}, \p{M} and \p{N} written as
// explicit classes; the rest stays. \p{Lm} and \p{Lo} are exact only together: the modifier letters
// that Unicode 14 lacks are taken for other letters.
std::string spell_classes(std::string_view pattern);
// Of the separate digit splitter of tokenizer.json, which counts two blocks of Unicode 17 more than
// \p{N}.
const std::string& digit_class();

}  // namespace espalier::text
