// SPDX-License-Identifier: Apache-2.0
// Mean squared error between the hidden states of paired layers, after both blocks:
//
//   1/Ht || W h_S - h_T ||^2
//
// h_S are the student's states behind a layer, h_T the teacher's, of width Ht. Where the widths are
// equal, W is the identity. Where they differ, W [Ht, Hs] is trained beside the student. It begins
// by putting each of the student's channels where pruning took it from.
//
// Jiao et al. 2019, "TinyBERT: Distilling BERT for Natural Language Understanding",
// arXiv:1909.10351.
#include <algorithm>

#include "core/error.h"
#include "objective/term.h"

namespace espalier::objective {
namespace hidden_mse {

constexpr const char* kLayers = "hidden_layers";

void describe_options(TermOptions& values, options::List& list) {
  list.add(kLayers, values.add_list(kLayers),
           "layers of the student for hidden_mse: 3, or 3:8 with the teacher's")
      .otherwise("all");
}

torch::Tensor projection(const Widths& widths) {
  torch::Tensor out = torch::zeros({widths.teacher, widths.student});
  const auto n = static_cast<std::int64_t>(widths.channels.size());
  ESP_CHECK(n == 0 || n == widths.student, internal, n, " channels for a width of ",
            widths.student);
  for (std::int64_t i = 0; i < std::min(widths.student, widths.teacher); ++i)
    out[n > 0 ? widths.channels[static_cast<std::size_t>(i)] : i][i] = 1;
  return out;
}

std::vector<Extra> extras(const Widths& widths) {
  if (widths.student == widths.teacher) return {};
  return {{"projection", {widths.teacher, widths.student}, projection}};
}

torch::Tensor squared_error(const PairInput& x) {
  const torch::Tensor mapped = x.extras.empty() ? x.student : torch::mm(x.student, x.extras[0].t());
  return (mapped - x.teacher).square().mean(-1);
}

}  // namespace hidden_mse

extern const Term k_hidden_mse;
const Term k_hidden_mse{.name = "hidden_mse",
                        .reads = Reads::states,
                        .describe = hidden_mse::describe_options,
                        .states = {.tap = model::Tap::layer_out,
                                   .layers = hidden_mse::kLayers,
                                   .extras = hidden_mse::extras,
                                   .of_pair = hidden_mse::squared_error}};

}  // namespace espalier::objective
