// SPDX-License-Identifier: Apache-2.0
// espalier eval MODEL --text FILE: perplexity, and divergence from another model.
// espalier eval MODEL --task FILE.jsonl: accuracy on tasks with right answers.
#include "stage_verb.h"

namespace espalier::tool {

void add_eval(CLI::App& app, Common& common) {
  const auto verb = add_stage_verb(app, common, "eval", nullptr);
  verb->app->add_option("--out", verb->out, "JSON file to write, beside what is printed")
      ->type_name("PATH")
      ->group("inputs and output");
  verb->app
      ->add_option("--items", verb->beside["items.jsonl"],
                   "file to write with a line of JSON for each item of the tasks")
      ->type_name("PATH")
      ->group("inputs and output");
  add_work(*verb->app, common, "OUT.work beside the --out, else none, and nothing is kept");
}

}  // namespace espalier::tool
