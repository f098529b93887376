// SPDX-License-Identifier: Apache-2.0
// The work of whole stages, from sizes alone. What depends on the text, such as reading it, is not
// in it: that takes seconds where stages take minutes.
#pragma once
#include <vector>

#include "format/quant_format.h"
#include "quant/rounding.h"
#include "timing/work.h"

namespace espalier::timing {

// A model as it is stored: most of its matrices have one format.
struct Stored {
  Model model = {};
  format::FormatId format = format::FormatId::f32;
  std::int64_t bytes() const;  // of all weights in that format
};

// Pruning by a criterion that looks at activations, and the refit of what is left.
struct PruneWork {
  Stored source = {};
  arch::ModelDims after = {};
  Text text = {};
  bool refits = true;         // least squares
  bool gives_scores = false;  // the criterion scores everything in a pass of its own
  int ridges = 0;             // tried before each fit, where none is given
};
Work work_of(const PruneWork& stage, const Place& place);

struct DistillWork {
  const Stored* teacher = nullptr;  // null: none, or its logits are cached
  Stored student = {};
  std::int64_t steps = 0, tokens_per_step = 0, sequence = 512;
  std::int64_t windows_at_once = 1;
  std::int64_t checkpoints = 0;  // saved on the way
  bool trains_embeddings = true, bf16 = false;
};
Work work_of(const DistillWork& stage, const Place& place);

// Statistics for an importance matrix. gram: with all second moments.
struct CalibrateWork {
  Stored source = {};
  Text text = {};
  bool gram = false;
};
Work work_of(const CalibrateWork& stage, const Place& place);

// Rounding and export. With a text and gptq, layer by layer.
struct QuantizeWork {
  Stored source = {};
  format::FormatId format = format::FormatId::q4_0;
  quant::Rounding rounding = quant::Rounding::nearest;
  Text text = {};             // no tokens: none is given
  bool has_imatrix = false;   // the statistics are read from a file
  bool budget = false;        // formats are chosen by their errors, which takes all second moments
  bool layer_errors = false;  // these are measured with a text
};
Work work_of(const QuantizeWork& stage, const Place& place);

// Evaluation of several models on the same windows, and with a file to verify also parity and
// speed.
struct VerifyWork {
  Stored file = {};     // on the device runtime
  Stored teacher = {};  // on the training side
  std::vector<Stored> trained = {},
                      others = {};  // more models on the training side, on the device runtime
  std::int64_t windows = 0, context = 512, parity_tokens = 192;
  bool parity = true, speed = true;
};
Work work_of(const VerifyWork& stage, const Place& place);

}  // namespace espalier::timing
