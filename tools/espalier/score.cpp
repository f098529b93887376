// SPDX-License-Identifier: Apache-2.0
// espalier score MODEL --text FILE --criterion NAME --out FILE: writes the importance of every
// index of every axis.
#include "checkpoint/checkpoint.h"
#include "command_line.h"
#include "core/error.h"
#include "core/output.h"
#include "core/units.h"
#include "plan/memory.h"
#include "prune/pruner.h"
#include "verb.h"

namespace espalier::tool {

void add_score(CLI::App& app, Common& common) {
  struct Flags {
    std::string model, text, criterion = "activation", out;
    text::CalibrationOptions calibration;
    bool list = false;
  };
  auto flags = std::make_shared<Flags>();
  CLI::App* verb =
      app.add_subcommand("score", "compute the importance of every index of every axis");
  verb->add_option("model", flags->model, "Hugging Face directory or .gguf");
  verb->add_option("--text", flags->text, "calibration text");
  verb->add_option("--criterion", flags->criterion, "criterion");
  verb->add_option("--out", flags->out, "safetensors file to write");
  add_calibration(*verb, flags->calibration, "");
  verb->add_flag("--list", flags->list, "list the criteria");
  add_resume(*verb, common);
  add_common(*verb, common, true);
  add_profile(*verb, common);
  add_max_ram(*verb, common);
  verb->callback([flags, &common, verb] {
    if (flags->list) {
      nlohmann::ordered_json names = nlohmann::ordered_json::array();
      std::string text;
      for (const auto& [name, paper] : prune::criterion_names()) {
        names.push_back({{"name", name}, {"source", paper}});
        text += name + "  " + paper + "\n";
      }
      print(common, {{"criteria", names}}, text);
      return;
    }
    ESP_CHECK(!flags->model.empty() && !flags->text.empty() && !flags->out.empty(), usage,
              "score: give MODEL, --text and --out (or --list)");
    core::require_not_input(flags->out, {flags->model, flags->text});
    core::require_writable_file(flags->out);
    apply_device(common);
    const auto source = checkpoint::Checkpoint::open(flags->model);
    auto windows = calibration(*verb, common, flags->calibration, source);
    plan::batch_within(
        common.max_ram_bytes(), windows.sequence, "give fewer --tokens", [&](std::int64_t batch) {
          windows.batch_tokens = batch;
          return prune::score_memory(flags->criterion, source.arch(), source.dims(), windows);
        });
    const prune::ScoreResult result =
        prune::score(source,
                     {.text_path = flags->text,
                      .criterion = flags->criterion,
                      .out_path = flags->out,
                      .calibration = windows,
                      .work = work_options(common, flags->out + ".work", "")},
                     common.progress());
    print(common,
          {{"criterion", result.criterion},
           {"tokens", result.tokens},
           {"axes", result.axes},
           {"peak_rss_bytes", core::peak_rss_bytes()},
           {"output", flags->out}},
          flags->out + ": " + result.criterion + " over " + core::human_count(result.tokens) +
              " tokens\n");
  });
}

}  // namespace espalier::tool
