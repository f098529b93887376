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
  std::string system;
};

void run(const Common& common, const ChatFlags& flags) {
  Writer writer(common, flags);
  const text::ChatTemplate conversation(writer.tokenizer(), common.model);
  runtime::GenerateOptions options = flags.generate;
  options.stops.insert(options.stops.end(), conversation.stops().begin(),
                       conversation.stops().end());

  const bool terminal = ::isatty(STDIN_FILENO) != 0 && !common.quiet;
  nlohmann::ordered_json replies = nlohmann::ordered_json::array();
  std::vector<text::ChatMessage> messages;
  if (!flags.system.empty()) messages.push_back({"system", flags.system});
  std::string line;
  while (true) {
    if (terminal) std::cerr << "> ";
    if (!std::getline(std::cin, line)) {
      ESP_CHECK(std::ferror(stdin) == 0, input,
                "standard input: cannot read: ", std::strerror(errno));
      break;
    }
    if (line.empty()) continue;
    messages.push_back({"user", line});
    const std::vector<std::int32_t> prompt = conversation.encode(writer.tokenizer(), messages);
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
                                   {"context_tokens", writer.session().position()},
                                   {"template", conversation.family()}};
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
  add_writer_options(*verb, common, *flags);
  verb->footer("Example:\n  espalier-run chat student.gguf");
  describe_json(*verb,
                {{"replies", "the answers"},
                 {"context_tokens", "tokens in the context at the end"},
                 {"template", "chat template in use"},
                 {"drafted", "tokens that the draft model proposed, with `--draft`"},
                 {"accepted", "those that the model took over"},
                 {"target_passes", "passes of the model"},
                 {"acceptance_rate", "accepted of the judged ones; null when none was judged"}});
  verb->callback([&common, flags] { run(common, *flags); });
}

}  // namespace espalier::tool
