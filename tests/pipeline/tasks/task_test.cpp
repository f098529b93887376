// SPDX-License-Identifier: Apache-2.0
// Layouts by their keys, prompts, and lines that are refused with file and line. Prompts as a whole
// are judged by lm-evaluation-harness (tests/pipeline/verify/tasks_test.cpp).
#include "tasks/task.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "core/file.h"
#include "support/temp_dir.h"

namespace espalier::tasks {
namespace {

Task read(const std::string& lines) {
  const support::TempDir dir;
  core::write_text_file(dir.file("t.jsonl"), lines);
  return read_task({"t", dir.file("t.jsonl")});
}

const char* const kArc =
    R"({"question":"q","choices":{"text":["a","b"],"label":["1","2"]},"answerKey":"2"})";
const char* const kMmlu =
    R"({"question":" q ","subject":"a_b","choices":["w","x","y","z"],"answer":"C"})";

TEST(Task, PromptsAndAnswers) {
  const Task arc = read(std::string(kArc) + "\r\n\n" + kArc);
  EXPECT_EQ(arc.layout->name, "arc");
  ASSERT_EQ(arc.items.size(), 2u);
  EXPECT_EQ(arc.items[1].line, 3);
  EXPECT_EQ(arc.items[0].answer, 1u);
  EXPECT_EQ(arc.items[0].questions[1].context, "Question: q\nAnswer:");
  EXPECT_EQ(arc.items[0].questions[1].continuation, " b");

  const Task mmlu = read(kMmlu);
  EXPECT_EQ(mmlu.items[0].answer, 2u);
  EXPECT_EQ(mmlu.items[0].questions[3].continuation, " D");
  EXPECT_EQ(mmlu.items[0].questions[0].context,
            "The following are multiple choice questions (with answers) about a b.\n\n"
            "q\nA. w\nB. x\nC. y\nD. z\nAnswer:");

  const Task hellaswag = read(
      R"({"activity_label":"L","ctx_a":"A [x] b [title] c","ctx_b":"dO [y\n] e","endings":["  f  [z]","g"],"label":1})");
  EXPECT_EQ(hellaswag.items[0].questions[0].context, "L: A b. c Do [y\n] e");
  EXPECT_EQ(hellaswag.items[0].questions[0].continuation, " f ");
  EXPECT_EQ(hellaswag.items[0].questions[0].characters, 2);

  const Task winogrande =
      read(R"({"sentence":"The _ fell_. ","option1":"cup","option2":"jug ","answer":"2"})");
  EXPECT_EQ(winogrande.items[0].answer, 1u);
  EXPECT_EQ(winogrande.items[0].questions[1].context, "The jug ");
  EXPECT_EQ(winogrande.items[0].questions[1].continuation, " fell_.");

  const Task lambada = read("\xEF\xBB\xBF{\"text\":\"a  b c\", \"domain\":null}\n{\"text\":\"d\"}");
  EXPECT_EQ(lambada.layout->name, "lambada");
  EXPECT_EQ(lambada.items[0].questions[0].context, "a  b");
  EXPECT_EQ(lambada.items[0].questions[0].continuation, " c");
  EXPECT_EQ(lambada.items[1].questions[0].context, "");
}

TEST(Task, WhatIsRefused) {
  struct Case {
    std::string line;
    std::vector<std::string> words;
  };
  const std::vector<Case> cases{
      {R"({"prompt":"q","chosen":"a"})",
       {"prompt, chosen", "arc has question, choices, answerKey", "hellaswag has", "piqa has",
        "winogrande has", "mmlu has", "lambada has text"}},
      {R"({"text":"a b","label":1})", {"no layout", "text, label"}},
      {R"({"question":"q","question_concept":"c","choices":{},"answerKey":"A"})", {"no layout"}},
      {R"(["text"])", {"JSON object"}},
      {R"({"text":)", {}},
      {R"({"text":"a b "})", {"the last word of 'text' is empty"}},
      {R"({"text":7})", {"'text'", "a text", "7"}},
      {R"({"question":"q","choices":["a"],"answerKey":"A"})", {"'choices'", "label"}},
      {R"({"question":"q","choices":{"text":["a","b"],"label":["A"]},"answerKey":"A"})",
       {"2 texts and 1 labels"}},
      {R"({"question":"q","choices":{"text":["a","b"],"label":["A","B"]},"answerKey":"E"})",
       {"'answerKey'", "'E'", "A, B"}},
      {R"({"question":"q","choices":{"text":["a"," "],"label":["A","B"]},"answerKey":"A"})",
       {"choice 2 is empty"}},
      {R"({"question":"q","choices":{"text":["a"],"label":["A"]},"answerKey":"A"})",
       {"at least two choices"}},
      {R"({"question":"q","choices":["w","x","y"],"answer":0})", {"3 texts", "4"}},
      {R"({"question":"q","choices":["w","x","y","z"],"answer":4})",
       {"'answer'", "4 is no choice"}},
      {R"({"question":"q","choices":["w","x","y","z"],"answer":-1})", {"-1 is no choice"}},
      {R"({"question":"q","choices":["w","x","y","z"],"answer":1.5})", {"a whole number", "1.5"}},
      {R"({"goal":"g","sol1":"a","sol2":"b","label":2})", {"'label'", "2 is no choice"}},
      {R"({"goal":"g","sol1":"","sol2":"b","label":0})", {"choice 1 is empty"}},
      {R"({"activity_label":"L","ctx_a":"a","ctx_b":"b","endings":["c","[d]"],"label":"0"})",
       {"choice 2 is empty"}},
      {R"({"activity_label":"L","ctx_a":"a","ctx_b":"b","endings":["c","d"],"label":""})",
       {"'label'", "whole number"}},
      {R"({"sentence":"a b","option1":"c","option2":"d","answer":"1"})", {"no '_'"}},
      {R"({"sentence":"a _","option1":"c","option2":"d","answer":"1"})", {"behind '_' is empty"}},
      {R"({"sentence":"a _ b","option1":"c","option2":"d","answer":"3"})", {"'3' is no choice"}},
      {R"({"sentence":"_ b","option1":"","option2":"d","answer":"1"})", {"'option1' is empty"}}};
  for (const Case& c : cases) {
    try {
      read("\n" + c.line + "\n");
      ADD_FAILURE() << "accepted: " << c.line;
    } catch (const core::Error& e) {
      const std::string message = e.what();
      EXPECT_EQ(e.kind(), core::ErrorKind::input) << message;
      EXPECT_NE(message.find("t.jsonl:2:"), std::string::npos) << message;
      for (const std::string& word : c.words)
        EXPECT_NE(message.find(word), std::string::npos) << word << " in: " << message;
    }
  }
  EXPECT_EQ(cases.size(), 24u);
  EXPECT_THROW(read("\n \n"), core::Error);
  EXPECT_THROW(read("\xff"), core::Error);
}

TEST(Task, HasOneLayout) {
  try {
    read(std::string(kArc) + "\n" + kMmlu);
    ADD_FAILURE() << "two layouts";
  } catch (const core::Error& e) {
    EXPECT_NE(std::string(e.what()).find("t.jsonl:2: an item of the layout mmlu in a task of the "
                                         "layout arc"),
              std::string::npos)
        << e.what();
  }
}

TEST(Task, Names) {
  EXPECT_EQ(task_name("data/arc_easy.jsonl"), "arc_easy");
  EXPECT_EQ(task_name("a.b.json"), "a.b");
  EXPECT_EQ(task_name("lambada"), "lambada");
  const support::TempDir dir;
  core::write_text_file(dir.file("t"), kArc);
  const std::vector<TaskFile> twice{{"a", dir.file("t")}, {"a", dir.file("t")}};
  EXPECT_THROW(read_tasks(twice), core::Error);
}

}  // namespace
}  // namespace espalier::tasks
