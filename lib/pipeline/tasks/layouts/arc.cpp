// SPDX-License-Identifier: Apache-2.0
// ARC, easy and challenge (Clark, Cowhey, Etzioni et al. 2018, arXiv:1803.05457).
//
//   {"question": "..", "choices": {"text": ["..", ".."], "label": ["A", "B"]}, "answerKey": "B"}
//
// Asked: "Question: {question}\nAnswer:", then " {choice}".
#include <algorithm>

#include "tasks/layout.h"

namespace espalier::tasks {
namespace {

Item read(const Json& line) {
  const Json& choices = line.at("choices");
  ESP_CHECK(choices.is_object(), input,
            "'choices': expected {\"text\": [..], \"label\": [..]} beside 'answerKey'");
  const std::vector<std::string> texts = texts_at(choices, "text"),
                                 labels = texts_at(choices, "label");
  ESP_CHECK(texts.size() == labels.size(), input, "'choices' has ", texts.size(), " texts and ",
            labels.size(), " labels");
  const std::string key = text_at(line, "answerKey");
  const auto found = std::find(labels.begin(), labels.end(), key);
  std::string known;
  for (const std::string& label : labels) known += (known.empty() ? "" : ", ") + label;
  ESP_CHECK(found != labels.end(), input, "'answerKey': '", key, "' is none of the labels ", known);
  return multiple_choice("Question: " + text_at(line, "question") + "\nAnswer:", texts,
                         found - labels.begin(), "answerKey");
}

}  // namespace

extern const Layout k_arc;
// CommonsenseQA has these keys too, and another prompt.
const Layout k_arc{
    "arc", {"question", "choices", "answerKey"}, {"question_concept"}, /*cloze=*/false, read};

}  // namespace espalier::tasks
