// SPDX-License-Identifier: Apache-2.0
// espalier-run pack FILE.gguf: writes FILE.gguf.packed16 beside the model (or packed8, packed4: the
// number of rows that this machine's kernels interleave). Every later run maps its matrices from it
// instead of packing them.
#include "runtime/packed_file.h"

#include <sstream>

#include "command_line.h"
#include "core/units.h"
#include "progress.h"
#include "reference.h"
#include "verb.h"

namespace espalier::tool {
namespace {

void run(const Common& common) {
  const kernels::KernelTable& table = kernels::select_isa(common.isa);
  core::ThreadPool pool(common.threads);
  const core::Progress progress = tool::progress(common.quiet);
  const runtime::PackResult packed =
      runtime::pack_file(common.model, table, pool, [&](std::int64_t done, std::int64_t total) {
        if (progress) progress({"pack", done, total, "matrices", ""});
      });
  std::ostringstream text;
  text << packed.path << ": " << packed.matrices << " matrices in groups of " << packed.rows
       << " rows, " << core::human_bytes(static_cast<std::int64_t>(packed.bytes)) << "\n";
  print(common,
        {{"packed_file", packed.path},
         {"matrices", packed.matrices},
         {"rows", packed.rows},
         {"bytes", packed.bytes},
         {"isa", kernels::isa_name(table)}},
        text.str());
}

}  // namespace

void add_pack(CLI::App& app, Common& common) {
  CLI::App* verb = add_verb(app, common, "pack",
                            "pack the model's matrices for this processor into a file beside the "
                            "model, for faster starts",
                            false);
  verb->add_option("--isa", common.isa,
                   "instruction set: avx2, avx512, ... (default: $ESPALIER_ISA or the best)");
  verb->footer("Example:\n  espalier-run pack student.gguf");
  describe_json(*verb, {{"packed_file", "path of the packed file"},
                        {"matrices", "packed matrices"},
                        {"rows", "rows of a block"},
                        {"bytes", "size of the file"},
                        {"isa", "instruction set that it is for"}});
  add_progress_file(*verb);
  verb->callback([&common] { run(common); });
}

}  // namespace espalier::tool
