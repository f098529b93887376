// espalier-run chat FILE.gguf: a conversation on stdin and stdout, one message a line. Only ChatML templates (<|im_start|>role ...
// <|im_end|>) are known; Jinja is not interpreted, and a model with another template is refused.
#include <unistd.h>

#include <iostream>
#include <memory>

#include "core/error.h"
#include "generation.h"
#include "verb.h"

namespace espalier::tool {
namespace {

struct Flags {
  std::string system;
  std::int64_t tokens = 512;
  runtime::SamplerOptions sampler{.temperature = 0.7, .top_p = 0.9};
};

std::string turn(const std::string& role, const std::string& content) { return "<|im_start|>" + role + "\n" + content + "<|im_end|>\n"; }

void run(const Common& common, const Flags& flags) {
  ESP_CHECK(flags.tokens > 0, usage, "--tokens ", flags.tokens, ": expected 1 or more");
  runtime::SamplerOptions sampler_options = flags.sampler;
  sampler_options.seed = common.seed;
  runtime::Sampler sampler(sampler_options);
  runtime::Session session(common.model, session_options(common));
  const text::Tokenizer& tokenizer = session.tokenizer();
  const std::string& chat_template = tokenizer.data().chat_template;
  ESP_CHECK(!chat_template.empty(), unsupported, common.model, ": no chat template (tokenizer.chat_template): this is not a chat model");
  ESP_CHECK(chat_template.find("<|im_start|>") != std::string::npos && chat_template.find("<|im_end|>") != std::string::npos, unsupported,
            common.model, ": its chat template is not ChatML, the only one known; use 'generate' with the prompt written out");

  const bool terminal = ::isatty(STDIN_FILENO) != 0 && !common.quiet;
  nlohmann::ordered_json replies = nlohmann::ordered_json::array();
  std::string pending = flags.system.empty() ? "" : turn("system", flags.system);  // text the model has not read yet
  std::string line;
  while (true) {
    if (terminal) std::cerr << "> ";
    if (!std::getline(std::cin, line)) break;
    if (line.empty()) continue;
    pending += turn("user", line) + "<|im_start|>assistant\n";
    const std::vector<std::int32_t> prompt = tokenizer.encode(pending, session.position() == 0, true);
    ESP_CHECK(session.position() + static_cast<std::int64_t>(prompt.size()) < session.context(), usage, "the conversation does not fit into --context ",
              session.context());
    const auto show = [](std::string_view piece) {
      std::cout << piece;
      std::cout.flush();
    };
    const Generated reply = generate(session, sampler, prompt, flags.tokens, common.json ? std::function<void(std::string_view)>() : show);
    if (common.json)
      replies.push_back(reply.text);
    else
      std::cout << "\n";
    // generate() leaves its last token unread unless an end token followed it.
    pending = (!reply.ended && !reply.tokens.empty() ? tokenizer.piece(reply.tokens.back()) : "") + "<|im_end|>\n";
  }
  if (common.json) print(common, {{"replies", replies}, {"context_tokens", session.position()}}, "");
}

}  // namespace

void add_chat(CLI::App& app, Common& common) {
  CLI::App* verb = add_verb(app, common, "chat", "talk with a ChatML model, one message a line");
  auto flags = std::make_shared<Flags>();
  verb->add_option("--system", flags->system, "what the model is told first");
  verb->add_option("--tokens", flags->tokens, "tokens of a reply at most")->capture_default_str();
  verb->add_option("--context", common.context, "positions of the KV cache (0: the model's, at most 4096)");
  verb->add_option("--temperature", flags->sampler.temperature, "0: greedy")->capture_default_str();
  verb->add_option("--top-k", flags->sampler.top_k, "sample from the K best (0: all)")->capture_default_str();
  verb->add_option("--top-p", flags->sampler.top_p, "sample from the best that hold this probability")->capture_default_str();
  verb->callback([&common, flags] { run(common, *flags); });
}

}  // namespace espalier::tool
