// SPDX-License-Identifier: Apache-2.0
// The one way in which every verb reads a text. docs/text.md states the rule.
//
//   file       one document
//   *.jsonl    each line is a document: {"text": "..."}, or a JSON string
//   directory  each file in it and below, in the order of their paths; names that begin with a dot
//              are left out
//
// A text is UTF-8. A byte order mark in front is dropped. "\r\n" and a "\r" by itself are line
// breaks, as in Python's open().
#pragma once
#include <string>
#include <vector>

namespace espalier::text {

// What users may choose.
struct Reading {
  // Control tokens that are written out in a text are those tokens. Otherwise they are letters.
  bool control_tokens = true;
};

struct Documents {
  std::vector<std::string> texts;  // not empty; as tokenizers read them
  std::string path = {};
  // What was read differently than it is written: "mark", "line breaks", "documents", with commas
  // between. Empty: nothing. Part of the identity of what is made from the text.
  std::string changes = {};

  bool empty() const;  // no document has a character
};

// Error(input) naming file, offset and line of what is not UTF-8, and what the file may be instead.
Documents read_documents(const std::string& path);
// A file that is one text whatever its name, such as a prompt.
std::string read_text(const std::string& path);
// The same for a text that is in no file, such as an argument. Error(input) naming `where`.
std::string clean_text(std::string text, const std::string& where);

}  // namespace espalier::text
