// SPDX-License-Identifier: Apache-2.0
// The common flags of all verbs, and opening of sessions.
#include "verb.h"

#include <filesystem>

#include "arch/arch.h"
#include "arch/gguf_dims.h"
#include "command_line.h"
#include "core/error.h"
#include "core/notes.h"
#include "format/gguf_files.h"
#include "progress.h"
#include "streams.h"

namespace espalier::tool {

CLI::App* add_verb(CLI::App& app, Common& common, const std::string& name,
                   const std::string& description, bool runs_model) {
  CLI::App* verb = app.add_subcommand(name, description);
  verb->add_option("model", common.model, "FILE.gguf")
      ->required()
      ->each([](const std::string& path) {
        std::error_code unreadable;
        ESP_CHECK(!std::filesystem::is_directory(path, unreadable), input, path,
                  ": is a directory, but espalier-run reads a .gguf; make one with 'espalier "
                  "quantize'");
      });
  add_pre(*verb);
  verb->add_flag("--json", common.json, "print one JSON object on stdout");
  verb->add_flag("--quiet", common.quiet, "nothing on stderr but errors");
  verb->add_option("--threads", common.threads, "threads (0: all processors)")
      ->check(whole_number(0, 1024));
  add_seed(*verb, common.seed);
  if (runs_model) {
    verb->add_option("--isa", common.isa,
                     "instruction set: reference, avx2, ... (default: $ESPALIER_ISA or the best)");
    verb->add_flag("--pin", common.pin, "keep each thread on one processor");
    verb->add_option("--kv", common.kv, "type of the KV cache")
        ->check(CLI::IsMember({"f32", "f16", "q8_0", "q4_0"}))
        ->capture_default_str();
  }
  return verb;
}

CLI::Option* add_reading(CLI::App& verb, text::Reading& reading) {
  const std::string flag = "--text-control-tokens";
  return verb
      .add_option_function<std::string>(
          flag, [&reading](const std::string& text) { reading.control_tokens = text == "yes"; },
          "whether control tokens that are written out in a text, such as end tokens between "
          "documents, are read as tokens (yes, no)")
      ->check(CLI::IsMember({"yes", "no"}))
      ->default_str("yes");
}

runtime::SessionOptions session_options(const Common& common) {
  using Kv = runtime::SessionOptions::KvType;
  const Kv kv = common.kv == "f32"    ? Kv::f32
                : common.kv == "q8_0" ? Kv::q8_0
                : common.kv == "q4_0" ? Kv::q4_0
                                      : Kv::f16;
  return {.threads = common.threads,
          .pin = common.pin,
          .context = common.context,
          .isa = common.isa,
          .kv = kv,
          .tokenizer_first = true};
}

std::int64_t positions_of(const std::string& path) {
  const auto model = arch::read_gguf_model(format::read_gguf_header(path));
  arch::require_computed(*model.arch, model.dims, path);
  return model.dims.positions;
}

runtime::Session open_session(const Common&, const std::string& path,
                              const runtime::SessionOptions& options) {
  runtime::Session session(path, options);
  if (!session.packed_refusal().empty()) core::note(session.packed_refusal());
  return session;
}

void print(const Common& common, const nlohmann::ordered_json& result,
           const std::string& readable) {
  using Json = nlohmann::ordered_json;
  Json all = result;
  all["notes"] = core::notes();
  leave_progress();
  write_result(common.json ? all.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n"
                           : readable);
}

}  // namespace espalier::tool
