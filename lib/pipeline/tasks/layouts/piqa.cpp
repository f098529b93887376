// SPDX-License-Identifier: Apache-2.0
// PIQA (Bisk, Zellers, Le Bras, Gao, Choi 2019, arXiv:1911.11641).
//
//   {"goal": "..", "sol1": "..", "sol2": "..", "label": 0}
//
// Asked: "Question: {goal}\nAnswer:", then " {sol1}" or " {sol2}".
#include "tasks/layout.h"

namespace espalier::tasks {
namespace {

Item read(const Json& line) {
  return multiple_choice("Question: " + text_at(line, "goal") + "\nAnswer:",
                         {text_at(line, "sol1"), text_at(line, "sol2")}, number_at(line, "label"),
                         "label");
}

}  // namespace

extern const Layout k_piqa;
const Layout k_piqa{"piqa", {"goal", "sol1", "sol2", "label"}, {}, /*cloze=*/false, read};

}  // namespace espalier::tasks
