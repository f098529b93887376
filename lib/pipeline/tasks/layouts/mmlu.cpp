// SPDX-License-Identifier: Apache-2.0
// MMLU (Hendrycks, Burns, Basart et al. 2020, arXiv:2009.03300).
//
//   {"question": "..", "subject": "us_foreign_policy", "choices": ["..", x 4], "answer": 1}
//
// Asked: "The following are multiple choice questions (with answers) about us foreign policy.\n\n",
// where there is a subject, then "{question}\nA. {choice}\n .. D. {choice}\nAnswer:", then " A" to
// " D".
#include "tasks/layout.h"
#include "text/utf8.h"

namespace espalier::tasks {
namespace {

const std::vector<std::string> kLetters{"A", "B", "C", "D"};

// A letter, or its number from 0 on.
std::int64_t answer_of(const Json& line) {
  if (line.at("answer").is_string())
    for (std::size_t i = 0; i < kLetters.size(); ++i)
      if (line.at("answer").get<std::string>() == kLetters[i]) return static_cast<std::int64_t>(i);
  return number_at(line, "answer");
}

Item read(const Json& line) {
  const std::vector<std::string> choices = texts_at(line, "choices");
  ESP_CHECK(choices.size() == kLetters.size(), input, "'choices' has ", choices.size(),
            " texts; expected 4, which are A to D");
  std::string context;
  if (line.contains("subject"))
    context = "The following are multiple choice questions (with answers) about " +
              text::replace_all(text_at(line, "subject"), "_", " ") + ".\n\n";
  context += strip(text_at(line, "question"));
  for (std::size_t i = 0; i < choices.size(); ++i)
    context += "\n" + kLetters[i] + ". " + choices[i];
  return multiple_choice(context + "\nAnswer:", kLetters, answer_of(line), "answer");
}

}  // namespace

extern const Layout k_mmlu;
const Layout k_mmlu{"mmlu", {"question", "choices", "answer"}, {}, /*cloze=*/false, read};

}  // namespace espalier::tasks
