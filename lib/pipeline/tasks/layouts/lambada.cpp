// SPDX-License-Identifier: Apache-2.0
// LAMBADA (Paperno, Kruszewski, Lazaridou et al. 2016, arXiv:1606.06031): the last word of a text.
//
//   {"text": ".."}
//
// Asked: the text before its last space, then that space and what follows.
#include "tasks/layout.h"

namespace espalier::tasks {
namespace {

Item read(const Json& line) {
  const std::string text = text_at(line, "text");
  const std::size_t space = text.rfind(' ');
  const std::string word = space == text.npos ? text : text.substr(space + 1);
  require_continuation(word, "the last word of 'text'");
  return {.questions = {{.context = space == text.npos ? "" : text.substr(0, space),
                         .continuation = " " + word,
                         .characters = characters(word),
                         .bytes = static_cast<std::int64_t>(word.size())}}};
}

}  // namespace

extern const Layout k_lambada;
// Texts with a label are for other tasks.
const Layout k_lambada{"lambada", {"text"}, {"label", "answer"}, /*cloze=*/true, read};

}  // namespace espalier::tasks
