// SPDX-License-Identifier: Apache-2.0
// Writes conversations in the format that a model was trained on. A file's chat template is a
// program (text/template/template.h), and it is run: the text is the one that transformers makes.
//
// A file may hold a second template named tool_use, for conversations with tools.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "text/conversation.h"
#include "text/template/template.h"
#include "text/tokenizer.h"

namespace espalier::text {

// The templates of a GGUF file besides tokenizer.chat_template.
NamedTemplates named_templates(const std::string& path);

class ChatTemplate {
 public:
  // Parses tokenizer.chat_template. Error(unsupported) naming `where` when there is none, or when
  // it is written in what cannot be run. Of `named` only tool_use matters.
  ChatTemplate(const Tokenizer& tokenizer, const std::string& where,
               const NamedTemplates& named = {});

  // "default", or "tool_use" when the conversation has tools and the file that template.
  const char* name_for(const Conversation& conversation) const;
  // The whole conversation as text, up to where the model's answer begins. BOS is written out where
  // the template has it. Error(unsupported) when the template refuses the conversation.
  //
  // strftime_now gives the local time, or the one that the environment variable SOURCE_DATE_EPOCH
  // names (seconds since 1970, shown in UTC).
  std::string render(const Conversation& conversation) const;
  // The ids of render(). Error(usage) when a message that is not the model's own spells out a
  // control token, which would be read as part of the template.
  std::vector<std::int32_t> encode(const Tokenizer& tokenizer,
                                   const Conversation& conversation) const;
  // Strings that end the model's answer, in addition to its end tokens: the control token that the
  // template writes behind an answer, or else the text between an answer and the next message.
  std::vector<std::string> stops(const Tokenizer& tokenizer) const;

 private:
  jinja::Template default_;
  std::optional<jinja::Template> tool_use_;
  jinja::Variables special_;  // bos_token and its like
};

}  // namespace espalier::text
