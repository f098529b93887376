// SPDX-License-Identifier: Apache-2.0
// espalier import MODEL --out DIR: converts any supported checkpoint to a Hugging Face directory.
// With --adapter it merges a LoRA adapter into it.
#include <optional>

#include "checkpoint/adapter.h"
#include "checkpoint/checkpoint.h"
#include "command_line.h"
#include "core/error.h"
#include "core/output.h"
#include "core/units.h"
#include "leftovers.h"
#include "plan/memory.h"
#include "reference.h"
#include "stages/told.h"
#include "verb.h"

namespace espalier::tool {

namespace {

struct ImportFlags {
  std::string model, out, dtype = "f32", shard = "5GB", adapter;
};

void import_model(const ImportFlags& flags, const Common& common) {
  const std::int64_t shard = core::parse_bytes(flags.shard, "--shard-bytes");
  ESP_CHECK(shard > 0, usage, "--shard-bytes ", flags.shard, ": expected at least 1");
  std::vector<std::string> inputs{flags.model};
  if (!flags.adapter.empty()) inputs.push_back(flags.adapter);
  core::require_not_input(flags.out, inputs);
  core::require_writable_directory(flags.out);
  const auto source = checkpoint::Checkpoint::open(flags.model);
  std::optional<checkpoint::Adapter> adapter;
  if (!flags.adapter.empty()) adapter.emplace(flags.adapter, source);
  checkpoint::WriteOptions options;
  options.dtype = *format::format_by_name(flags.dtype);
  options.max_shard_bytes = static_cast<std::uint64_t>(shard);
  plan::require_memory(plan::file_stage_memory(source.arch(), source.dims()),
                       common.max_ram_bytes(), "no import needs less");
  without_leftovers({flags.out}, [&] {
    checkpoint::import_checkpoint(source, flags.out, options, common.progress(),
                                  adapter ? &*adapter : nullptr);
  });
  const std::int64_t parameters =
      arch::parameters(source.arch(), adapter ? adapter->dims() : source.dims());
  nlohmann::ordered_json result{{"architecture", source.arch().name},
                                {"parameters", parameters},
                                {"tokenizer", source.has_tokenizer()}};
  std::string merged;
  if (adapter) {
    result["adapter"] = {
        {"directory", flags.adapter}, {"tensors", adapter->n_changed()}, {"base", adapter->base()}};
    merged = "  " + flags.adapter + " merged: it changes " + std::to_string(adapter->n_changed()) +
             " tensors" + (adapter->base().empty() ? "" : "; its base was " + adapter->base()) +
             "\n";
  }
  result["output"] = flags.out;
  result["peak_rss_bytes"] = core::peak_rss_bytes();
  print(common, result,
        flags.model + " -> " + flags.out + ": " + std::string(source.arch().name) + ", " +
            core::human_count(parameters) + " parameters\n" + merged +
            stages::remote_code_note(flags.out));
}

}  // namespace

void add_import(CLI::App& app, Common& common) {
  auto flags = std::make_shared<ImportFlags>();
  CLI::App* verb =
      app.add_subcommand("import", "convert any supported checkpoint to a Hugging Face directory");
  verb->footer("Example:\n  espalier import teacher.gguf --out teacher");
  verb->add_option("model", flags->model, "Hugging Face directory or .gguf")->required();
  verb->add_option("--out", flags->out, "directory to write")->required();
  verb->add_option("--dtype", flags->dtype, "f32, f16 or bf16")
      ->check(CLI::IsMember({"f32", "f16", "bf16"}));
  verb->add_option("--adapter", flags->adapter,
                   "directory of a LoRA adapter (PEFT) to merge into the model");
  verb->add_option("--shard-bytes", flags->shard, "largest shard, e.g. 5GB");
  add_common(*verb, common);
  add_pre(*verb);
  add_max_ram(*verb, common);
  describe_json(*verb, {{"architecture", "family of the model"},
                        {"parameters", "parameters of the model"},
                        {"tokenizer", "whether it has one"},
                        {"adapter",
                         "with `--adapter`: its directory, how many tensors it changes, "
                         "and which model it names as its base"},
                        {"output", "path of the result"},
                        {"peak_rss_bytes", "most memory that the process held"}});
  verb->callback([flags, &common] { import_model(*flags, common); });
}

}  // namespace espalier::tool
