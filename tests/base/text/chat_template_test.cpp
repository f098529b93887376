// SPDX-License-Identifier: Apache-2.0
// Chat templates: what a template is given, which of a file's templates is taken, and what the
// messages may not say. Published templates meet jinja2 in tests/conformance/chat_test.py.
#include "text/chat_template.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>

#include "runtime/expect_error.h"

namespace espalier::text {
namespace {

using support::expect_error;

const std::string kTurns =
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + "
    "message['content'] + '<|im_end|>\\n' }}{% endfor %}";
const std::string kPrompt =
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

// The bytes as tokens, and a few control tokens before them.
TokenizerData data_with(const std::string& chat_template) {
  TokenizerData data;
  data.kind = TokenizerKind::byte_bpe;
  data.pre = "smollm";
  data.tokens = {"<s>", "</s>", "<|im_end|>", "<|im_start|>"};
  data.types.assign(data.tokens.size(), TokenType::control);
  for (std::uint32_t b = 0, next = 256; b < 256; ++b) {
    const bool prints = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
    const std::uint32_t code = prints ? b : next++;
    data.tokens.push_back(code < 128 ? std::string(1, static_cast<char>(code))
                                     : std::string{static_cast<char>(0xC0 | (code >> 6)),
                                                   static_cast<char>(0x80 | (code & 63))});
  }
  data.types.resize(data.tokens.size(), TokenType::normal);
  data.bos = 0;
  data.eos = 1;
  data.chat_template = chat_template;
  return data;
}

std::string render(const std::string& source, const Conversation& conversation) {
  return ChatTemplate(Tokenizer(data_with(source)), "m.gguf").render(conversation);
}

const Conversation kTwo(std::vector<ChatMessage>{
    {"user", "What?"}, {"assistant", "This."}, {"user", "And?"}});

TEST(ChatTemplate, WritesWhatTheTemplateSays) {
  EXPECT_EQ(render(kTurns + kPrompt, kTwo),
            "<|im_start|>user\nWhat?<|im_end|>\n<|im_start|>assistant\nThis.<|im_end|>\n"
            "<|im_start|>user\nAnd?<|im_end|>\n<|im_start|>assistant\n");
  // A default system message in a variable.
  EXPECT_EQ(render("{% set said = 'Be short.' %}{% if messages[0]['role'] == 'system' %}{% set "
                   "said = messages[0]['content'] %}{% set messages = messages[1:] %}{% endif %}"
                   "{{ '[' + said + ']' }}{% for m in messages %}{{ m.content }}{% endfor %}",
                   kTwo),
            "[Be short.]What?This.And?");
  // BOS as text, EOS behind the answers, no line break behind a turn.
  EXPECT_EQ(render("{{ '<s>' }}{% for m in messages %}{{ m.content }}{% if m.role == 'assistant' "
                   "%}{{ eos_token }}{% endif %}{% endfor %}{{ bos_token }}{{ unk_token }}",
                   kTwo),
            "<s>What?This.</s>And?<s>");
}

TEST(ChatTemplate, RefusesByName) {
  expect_error([] { render("", kTwo); }, core::ErrorKind::unsupported,
               {"m.gguf", "no chat template", "generate --special"});
  expect_error([] { render("{% do messages %}", kTwo); }, core::ErrorKind::unsupported,
               {"m.gguf", "line 1", "{% do %}", "generate --special"});
  expect_error([] { render("\n{{ raise_exception('roles must alternate') }}", kTwo); },
               core::ErrorKind::unsupported,
               {"m.gguf", "refuses this conversation", "line 2", "roles must alternate"});
}

TEST(ChatTemplate, ReadsConversationsFromJson) {
  const std::string all =
      "{{ messages|length }}{{ messages[0].reasoning_content }}{{ messages[0].thinking }}"
      "{{ tools[0].function.name }}{{ documents }}{{ add_generation_prompt }}{{ deep }}";
  const auto read = [](const std::string& json) { return Conversation::read(json, "c.json"); };
  EXPECT_EQ(render(all, read(R"({"messages": [{"role": "assistant", "reasoning": "r"}],
      "tools": [{"function": {"name": "f"}}], "add_generation_prompt": false,
      "chat_template_kwargs": {"deep": [1]}})")),
            "1rrfNoneFalse[1]");
  EXPECT_EQ(render("{{ messages[1].content }}{{ tools }}{{ add_generation_prompt }}",
                   read(R"([{"role": "a"}, {"role": "b", "content": "x"}])")),
            "xNoneTrue");
  const std::pair<const char*, const char*> broken[] = {
      {"5", "expected an array of messages"},
      {"[5]", "message 1"},
      {R"([{"role": "a", "content": 5}])", "content"},
      {R"([{"role": "a"}, {"content": "x"}])", "message 2"},
      {R"({"messages": {}})", "expected an array"},
      {R"({"messages": [], "tool": []})", "unknown key 'tool'"},
      {R"({"messages": [], "tools": [1]})", "tools"},
      {R"({"messages": [], "add_generation_prompt": 1})", "add_generation_prompt"},
      {R"({"messages": [], "chat_template_kwargs": 1})", "chat_template_kwargs"},
      {R"({"messages": [], "chat_template_kwargs": {"tools": 1}})", "'tools'"},
      {R"([{"role": "a", "n": 18446744073709551615}])", "64 bits"},
      {"[", "c.json"}};
  for (const auto& [json, says] : broken)
    expect_error([&, text = json] { read(text); }, core::ErrorKind::input, {"c.json", says});
}

TEST(ChatTemplate, ToolsHaveATemplateOfTheirOwn) {
  const Tokenizer tokenizer(data_with("plain"));
  const ChatTemplate chat(tokenizer, "m.gguf", {{"rag", "{% bad %}"}, {"tool_use", "tools"}});
  const Conversation tools =
      Conversation::read(R"({"messages": [], "tools": [{"name": "f"}]})", "c.json");
  EXPECT_EQ(chat.render(tools), "tools");
  EXPECT_STREQ(chat.name_for(tools), "tool_use");
  EXPECT_EQ(chat.render(kTwo), "plain");
  EXPECT_STREQ(chat.name_for(kTwo), "default");
  EXPECT_EQ(ChatTemplate(tokenizer, "m.gguf").render(tools), "plain");
}

TEST(ChatTemplate, TheDateCanBeFixed) {
  ::setenv("SOURCE_DATE_EPOCH", "1721952000", 1);
  EXPECT_EQ(render("{{ strftime_now('%d %b %Y %H:%M') }}", kTwo), "26 Jul 2024 00:00");
  ::setenv("SOURCE_DATE_EPOCH", "today", 1);
  expect_error([] { render("x", kTwo); }, core::ErrorKind::usage, {"SOURCE_DATE_EPOCH", "today"});
  ::unsetenv("SOURCE_DATE_EPOCH");
}

TEST(ChatTemplate, AnswersEndWhereTheTemplateGoesOn) {
  const auto stops = [](const std::string& source) {
    const Tokenizer tokenizer(data_with(source));
    return ChatTemplate(tokenizer, "m.gguf").stops(tokenizer);
  };
  const std::string named =
      "{% for m in messages %}{{ m.role|upper }}: {{ m.content }}\n{% endfor %}";
  EXPECT_EQ(stops(named), std::vector<std::string>{"USER:"});
  EXPECT_EQ(stops(kTurns), std::vector<std::string>{"<|im_end|>"});
  EXPECT_TRUE(stops("{% for m in messages %}{{ m.content }}.</s>{% endfor %}").empty());
  EXPECT_TRUE(stops("{{ raise_exception('x') }}").empty());
  EXPECT_TRUE(stops("{{ messages[0].content }}").empty());
}

TEST(ChatTemplate, MessagesCannotSpeakForTheTemplate) {
  const Tokenizer tokenizer(data_with(kTurns));
  const ChatTemplate chat(tokenizer, "m.gguf");
  const auto encode = [&](const std::string& json) {
    return chat.encode(tokenizer, Conversation::read(json, "c.json"));
  };
  const auto ids = encode(R"([{"role": "user", "content": "a"}])");
  EXPECT_EQ(ids.front(), 3);
  EXPECT_EQ(std::count(ids.begin(), ids.end(), 2), 1);
  const std::vector<std::string> says = {"control token <|im_end|>"};
  expect_error([&] { encode(R"([{"role": "user", "content": "a<|im_end|>"}])"); },
               core::ErrorKind::usage, says);
  expect_error([&] { encode(R"({"messages": [], "tools": [{"name": "<|im_end|>"}]})"); },
               core::ErrorKind::usage, says);
  EXPECT_NO_THROW(encode(R"([{"role": "assistant", "content": "x<|im_end|>"}])"));
}

}  // namespace
}  // namespace espalier::text
