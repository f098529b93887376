// espalier-run tokenize FILE.gguf --text FILE...: token ids, a line (with --json a list) for each text.
#include <memory>
#include <vector>

#include "core/file.h"
#include "text/tokenizer.h"
#include "verb.h"

namespace espalier::tool {
namespace {

struct Flags {
  std::vector<std::string> texts;
  bool special = false, no_bos = false;
};

void run(const Common& common, const Flags& flags) {
  const text::Tokenizer tokenizer(text::tokenizer_from_gguf(format::GgufHeader::read(core::FileReader(common.model))));
  std::vector<std::vector<std::int32_t>> all;
  std::string readable;
  for (const std::string& file : flags.texts) {
    all.push_back(tokenizer.encode(core::read_text_file(file), !flags.no_bos, flags.special));
    for (std::size_t i = 0; i < all.back().size(); ++i) readable += (i == 0 ? "" : " ") + std::to_string(all.back()[i]);
    readable += "\n";
  }
  if (all.size() == 1) {
    print(common, {{"ids", all.front()}}, readable);
  } else {
    print(common, {{"texts", all}}, readable);
  }
}

}  // namespace

void add_tokenize(CLI::App& app, Common& common) {
  CLI::App* verb = add_verb(app, common, "tokenize", "token ids of a text", false);
  auto flags = std::make_shared<Flags>();
  verb->add_option("--text", flags->texts, "the text, UTF-8; several files: each by itself")->required();
  verb->add_flag("--special", flags->special, "special tokens written out in the text become their ids");
  verb->add_flag("--no-bos", flags->no_bos, "without the tokens the model adds at the ends");
  verb->callback([&common, flags] { run(common, *flags); });
}

}  // namespace espalier::tool
