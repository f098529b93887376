// SPDX-License-Identifier: Apache-2.0
// WinoGrande (Sakaguchi, Le Bras, Bhagavatula, Choi 2019, arXiv:1907.10641), by partial evaluation
// (Trinh, Le 2018, arXiv:1806.02847): each option is set in, and the rest of the sentence is
// scored.
//
//   {"sentence": ".. _ ..", "option1": "..", "option2": "..", "answer": "1"}
//
// Asked: what stands before the first "_" with the option, then " " and what stands behind, without
// white space around it. The continuations are the same, so acc is what counts. acc_norm and
// acc_bytes divide by the length of the context, as in the harness.
#include "tasks/layout.h"

namespace espalier::tasks {
namespace {

Item read(const Json& line) {
  const std::string sentence = text_at(line, "sentence"), answer = text_at(line, "answer");
  const std::size_t gap = sentence.find('_');
  ESP_CHECK(gap != sentence.npos, input, "'sentence' has no '_' where an option belongs");
  ESP_CHECK(answer == "1" || answer == "2", input, "'answer': '", answer,
            "' is no choice: expected \"1\" or \"2\"");
  const std::string rest(strip(std::string_view(sentence).substr(gap + 1)));
  require_continuation(rest, "what stands behind '_'");
  Item out;
  for (const char* key : {"option1", "option2"}) {
    const std::string context = sentence.substr(0, gap) + text_at(line, key);
    ESP_CHECK(!context.empty(), input, "'", key, "' is empty, and nothing stands before '_'");
    out.questions.push_back({.context = context,
                             .continuation = " " + rest,
                             .characters = characters(context),
                             .bytes = static_cast<std::int64_t>(context.size())});
  }
  out.answer = answer == "1" ? 0 : 1;
  return out;
}

}  // namespace

extern const Layout k_winogrande;
const Layout k_winogrande{
    "winogrande", {"sentence", "option1", "option2", "answer"}, {}, /*cloze=*/false, read};

}  // namespace espalier::tasks
