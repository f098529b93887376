// SPDX-License-Identifier: Apache-2.0
// espalier import MODEL --out DIR: converts any supported checkpoint to a Hugging Face directory.
#include "checkpoint/checkpoint.h"
#include "command_line.h"
#include "core/error.h"
#include "core/output.h"
#include "core/units.h"
#include "plan/memory.h"
#include "reference.h"
#include "stages/told.h"
#include "verb.h"

namespace espalier::tool {

void add_import(CLI::App& app, Common& common) {
  struct Flags {
    std::string model, out, dtype = "f32", shard = "5GB";
  };
  auto flags = std::make_shared<Flags>();
  CLI::App* verb =
      app.add_subcommand("import", "convert any supported checkpoint to a Hugging Face directory");
  verb->footer("Example:\n  espalier import teacher.gguf --out teacher");
  verb->add_option("model", flags->model, "Hugging Face directory or .gguf")->required();
  verb->add_option("--out", flags->out, "directory to write")->required();
  verb->add_option("--dtype", flags->dtype, "f32, f16 or bf16")
      ->check(CLI::IsMember({"f32", "f16", "bf16"}));
  verb->add_option("--shard-bytes", flags->shard, "largest shard, e.g. 5GB");
  add_common(*verb, common);
  add_pre(*verb);
  add_max_ram(*verb, common);
  describe_json(*verb, {{"architecture", "family of the model"},
                        {"parameters", "parameters of the model"},
                        {"tokenizer", "whether it has one"},
                        {"output", "path of the result"},
                        {"peak_rss_bytes", "most memory that the process held"}});
  verb->callback([flags, &common] {
    const std::int64_t shard = core::parse_bytes(flags->shard, "--shard-bytes");
    ESP_CHECK(shard > 0, usage, "--shard-bytes ", flags->shard, ": expected at least 1");
    core::require_not_input(flags->out, {flags->model});
    core::require_writable_directory(flags->out);
    const auto source = checkpoint::Checkpoint::open(flags->model);
    checkpoint::WriteOptions options;
    options.dtype = *format::format_by_name(flags->dtype);
    options.max_shard_bytes = static_cast<std::uint64_t>(shard);
    plan::require_memory(plan::file_stage_memory(source.arch(), source.dims()),
                         common.max_ram_bytes(), "no import needs less");
    checkpoint::import_checkpoint(source, flags->out, options, common.progress());
    const std::int64_t parameters = arch::parameters(source.arch(), source.dims());
    print(common,
          {{"architecture", source.arch().name},
           {"parameters", parameters},
           {"tokenizer", source.has_tokenizer()},
           {"output", flags->out},
           {"peak_rss_bytes", core::peak_rss_bytes()}},
          flags->model + " -> " + flags->out + ": " + std::string(source.arch().name) + ", " +
              core::human_count(parameters) + " parameters\n" +
              stages::remote_code_note(flags->out));
  });
}

}  // namespace espalier::tool
