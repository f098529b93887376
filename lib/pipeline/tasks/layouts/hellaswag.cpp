// SPDX-License-Identifier: Apache-2.0
// HellaSwag (Zellers, Holtzman, Bisk, Farhadi, Choi 2019, arXiv:1905.07830).
//
//   {"activity_label": "..", "ctx_a": "..", "ctx_b": "..", "endings": ["..", ..], "label": "2"}
//
// Asked: clean("{activity_label}: {ctx_a} {ctx_b.capitalize()}"), then " " + clean(ending). clean()
// takes the marks of WikiHow's articles away.
#include "tasks/layout.h"
#include "text/utf8.h"

namespace espalier::tasks {
namespace {

// Python's re.sub(r"\[.*?\]", "", text): from a bracket to the next one that closes, in one line.
std::string without_brackets(std::string_view text) {
  std::string out;
  for (std::size_t at = 0; at < text.size(); ++at) {
    const std::size_t end = text[at] == '[' ? text.find_first_of("]\n", at) : text.npos;
    if (end != text.npos && text[end] == ']')
      at = end;
    else
      out += text[at];
  }
  return out;
}

std::string clean(std::string_view text) {
  return text::replace_all(without_brackets(text::replace_all(strip(text), " [title]", ". ")), "  ",
                           " ");
}

Item read(const Json& line) {
  const std::string context =
      clean(text_at(line, "activity_label") + ": " + text_at(line, "ctx_a") + " " +
            capitalize(text_at(line, "ctx_b")));
  std::vector<std::string> endings;
  for (const std::string& ending : texts_at(line, "endings")) endings.push_back(clean(ending));
  return multiple_choice(context, endings, number_at(line, "label"), "label");
}

}  // namespace

extern const Layout k_hellaswag;
const Layout k_hellaswag{"hellaswag",
                         {"activity_label", "ctx_a", "ctx_b", "endings", "label"},
                         {},
                         /*cloze=*/false,
                         read};

}  // namespace espalier::tasks
