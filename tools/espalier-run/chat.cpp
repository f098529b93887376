// SPDX-License-Identifier: Apache-2.0
// espalier-run chat FILE.gguf: a conversation on stdin and stdout, one message per line, in the
// model's own template (text/chat_template.h). Every answer writes out the whole conversation anew.
// The part that the KV cache already holds is not read again.
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <iostream>
#include <memory>

#include "core/error.h"
#include "reference.h"
#include "streams.h"
#include "text/chat_template.h"
#include "text/documents.h"
#include "verb.h"
#include "writer.h"

namespace espalier::tool {
namespace {

struct ChatFlags : WriterFlags {
  ChatFlags() {
    generate.tokens = 512;
    sampler.temperature = 0.7;
    sampler.top_p = 0.9;
  }
  std::string system, template_options;
};

void run(const Common& common, const ChatFlags& flags) {
  Writer writer(common, flags);
  const text::ChatTemplate conversation(writer.tokenizer(), common.model);
  runtime::GenerateOptions options = flags.generate;
  for (const std::string& stop : conversation.stops(writer.tokenizer()))
    options.stops.push_back(stop);

  const bool terminal = ::isatty(STDIN_FILENO) != 0 && !common.quiet;
  nlohmann::ordered_json replies = nlohmann::ordered_json::array();
  std::vector<text::ChatMessage> messages;
  if (!flags.system.empty())
    messages.push_back({"system", text::clean_text(flags.system, "--system")});
  std::string line;
  while (true) {
    if (terminal) std::cerr << "> ";
    if (!std::getline(std::cin, line)) {
      ESP_CHECK(std::ferror(stdin) == 0, input,
                "standard input: cannot read: ", std::strerror(errno));
      break;
    }
    line = text::clean_text(line, "standard input");
    if (line.ends_with('\n')) line.pop_back();  // it was the carriage return of the line's end
    if (line.empty()) continue;
    messages.push_back({"user", line});
    text::Conversation so_far(messages);
    if (!flags.template_options.empty())
      so_far.set_options(flags.template_options, "--chat-template-kwargs");
    const std::vector<std::int32_t> prompt = conversation.encode(writer.tokenizer(), so_far);
    ESP_CHECK(static_cast<std::int64_t>(prompt.size()) < writer.session().context(), usage,
              "the conversation has ", prompt.size(), " tokens and does not fit into --context ",
              writer.session().context());
    const runtime::Generated reply =
        writer.run(prompt, options, common.json ? runtime::Show() : show_text, true);
    messages.push_back({"assistant", reply.text});
    if (common.json)
      replies.push_back(reply.text);
    else
      write_result("\n");
  }
  nlohmann::ordered_json result = {{"replies", replies},
                                   {"context_tokens", writer.session().position()}};
  result.update(writer.draft_numbers());
  if (common.json) print(common, result, "");
  writer.report_draft();
}

}  // namespace

void add_chat(CLI::App& app, Common& common) {
  CLI::App* verb = add_verb(app, common, "chat",
                            "talk with the model in its own chat template, one message per line");
  auto flags = std::make_shared<ChatFlags>();
  verb->add_option("--system", flags->system, "the system message");
  verb->add_option("--chat-template-kwargs", flags->template_options,
                   "JSON object with further variables of the chat template, such as "
                   "{\"enable_thinking\": false}");
  add_writer_options(*verb, common, *flags);
  verb->footer("Example:\n  espalier-run chat student.gguf");
  describe_json(*verb,
                {{"replies", "the answers"},
                 {"context_tokens", "tokens in the context at the end"},
                 {"drafted", "tokens that the draft model proposed, with `--draft`"},
                 {"accepted", "those that the model took over"},
                 {"target_passes", "passes of the model"},
                 {"acceptance_rate", "accepted of the judged ones; null when none was judged"}});
  verb->callback([&common, flags] { run(common, *flags); });
}

}  // namespace espalier::tool
