// SPDX-License-Identifier: Apache-2.0
// espalier calibrate MODEL --text FILE --out imatrix.gguf: collects activation statistics for
// quantization.
#include "calibrate/calibrate.h"

#include "command_line.h"
#include "core/output.h"
#include "core/units.h"
#include "plan/memory.h"
#include "verb.h"

namespace espalier::tool {

void add_calibrate(CLI::App& app, Common& common) {
  struct Flags {
    std::string model, text, out;
    text::CalibrationOptions calibration;
    bool gram = false;
  };
  auto flags = std::make_shared<Flags>();
  CLI::App* verb =
      app.add_subcommand("calibrate", "collect activation statistics for quantization");
  verb->add_option("model", flags->model, "Hugging Face directory or .gguf")->required();
  verb->add_option("--text", flags->text, "calibration text")->required();
  verb->add_option("--out", flags->out, "imatrix file to write, in llama.cpp's GGUF layout")
      ->required();
  add_calibration(*verb, flags->calibration, "");
  verb->add_flag("--gram", flags->gram,
                 "also store second-moment matrices, which gptq rounding needs");
  add_resume(*verb, common);
  add_common(*verb, common, true);
  add_max_ram(*verb, common);
  add_profile(*verb, common);
  verb->callback([flags, &common, verb] {
    core::require_not_input(flags->out, {flags->model, flags->text});
    core::require_writable_file(flags->out);
    apply_device(common);
    const auto source = checkpoint::Checkpoint::open(flags->model);
    auto windows = calibration(*verb, common, flags->calibration, source);
    const auto moments = flags->gram ? calibrate::Moments::gram : calibrate::Moments::squares;
    plan::batch_within(common.max_ram_bytes(), windows.sequence,
                       "give fewer --tokens, or leave out --gram", [&](std::int64_t batch) {
                         windows.batch_tokens = batch;
                         return calibrate::imatrix_memory(source.arch(), source.dims(), windows,
                                                          moments);
                       });
    const text::Tokenizer tokenizer(source.tokenizer());
    const core::Progress progress = common.progress();
    const data::Corpus corpus = data::load_corpus(flags->text, tokenizer, progress);
    const checkpoint::WorkOptions work = work_options(common, flags->out + ".work", "");
    const quant::Imatrix imatrix =
        calibrate::collect_imatrix(source, corpus, windows, moments, progress, work);
    quant::write_imatrix(imatrix, flags->out, flags->gram);
    checkpoint::WorkFolder::remove(work.folder);
    print(common,
          {{"tokens", imatrix.tokens},
           {"tensors", imatrix.tensors.size()},
           {"output", flags->out},
           {"peak_rss_bytes", core::peak_rss_bytes()}},
          flags->out + ": " + std::to_string(imatrix.tensors.size()) + " matrices over " +
              core::human_count(imatrix.tokens) + " tokens\n");
  });
}

}  // namespace espalier::tool
