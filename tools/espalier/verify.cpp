// SPDX-License-Identifier: Apache-2.0
// espalier verify FILE.gguf --against MODEL --text FILE: makes the device card. Exits with 5 when a
// gate fails.
#include "verify/verify.h"
#include "core/error.h"
#include "core/file.h"
#include "core/output.h"
#include "recipe/gates.h"
#include "verb.h"

namespace espalier::tool {

void add_verify(CLI::App& app, Common& common) {
  struct Flags {
    std::string file, gates, card;
    verify::VerifyOptions options;
  };
  auto flags = std::make_shared<Flags>();
  CLI::App* verb =
      app.add_subcommand("verify", "parity, quality, size, memory and speed of a GGUF");
  verb->add_option("file", flags->file, "GGUF")->required();
  verb->add_option("--against", flags->options.teacher, "teacher")->required();
  verb->add_option("--student", flags->options.student, "the float model the file was made from");
  verb->add_option("--text", flags->options.text_path, "held-out text")->required();
  verb->add_option("--context", flags->options.context, "window length")
      ->check(CLI::Range(4, 1 << 20));
  verb->add_option("--windows", flags->options.max_windows,
                   "number of windows to read at most, spread evenly over the text (0: all)")
      ->check(CLI::NonNegativeNumber);
  verb->add_option("--gates", flags->gates, "YAML of gates (configs/gates/)");
  verb->add_option("--card", flags->card, "device card to write (JSON)");
  add_common(*verb, common, true);
  add_max_ram(*verb, common);
  add_work(*verb, common, "CARD.work beside the --card, else none, and nothing is kept");
  verb->callback([flags, &common] {
    core::require_not_input(flags->card,
                            {flags->file, flags->options.teacher, flags->options.student,
                             flags->options.text_path, flags->gates});
    if (!flags->card.empty()) core::require_writable_file(flags->card);
    apply_device(common);
    flags->options.bench_program = common.device_program();
    flags->options.threads = common.threads;
    flags->options.max_ram = common.max_ram_bytes();
    flags->options.work = work_options(common, flags->card.empty() ? "" : flags->card + ".work",
                                       "name it with --work, or the card with --card");
    if (!flags->gates.empty()) flags->options.gates = recipe::read_gates(flags->gates);
    const verify::VerifyResult result =
        verify::verify(flags->file, flags->options, common.progress());
    if (!flags->card.empty()) core::write_text_file(flags->card, result.card.dump(2) + "\n");
    print(common, result.card, verify::readable_card(result.card));
    checkpoint::WorkFolder::remove(flags->options.work.folder);
    ESP_CHECK(result.passed(), check_failed, flags->file, ": ", result.failures(),
              " (see the card)");
  });
}

}  // namespace espalier::tool
