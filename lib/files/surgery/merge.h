// SPDX-License-Identifier: Apache-2.0
// Dropped layers are merged into those that stay. No text is read. Yang et al. 2024, "LaCo: Large
// Language Model Pruning via Layer Collapse", arXiv 2402.11187: where the layers l + 1 .. l + m go,
// the layer l before them takes
//
//   theta_l + sum over k = 1 .. m of (theta_(l+k) - theta_l)
//
// theta: the matrices, gains and biases of a layer. So a single one takes the place of l. LaCo also
// searches for the layers that go; here a plan says which. What LaCo does not say:
//
// - Each block does so by itself. So an attention or FFN block that is dropped alone is merged into
//   the nearest layer before it that keeps its own block of this kind.
// - Where none is before it, as at the beginning, the nearest layer behind it takes it, by the same
//   formula.
// - Both blocks have equal sizes. There is no sum of others, so they are refused. So is a block
//   that takes another while its own channels or heads are cut, for those of two layers do not
//   correspond. The stream and the vocabulary may be cut, because all layers share them.
// - The layer that stays keeps its window and its positions.
#pragma once
#include "surgery/surgery.h"

namespace espalier::surgery {

// Error where `plan` cannot be merged, which names the layers: usage where nothing is dropped or
// widths are cut; unsupported where sizes differ, or no block of the kind stays.
void require_mergeable(const arch::Arch& arch, const arch::ModelDims& before,
                       const plan::PrunePlan& plan);
// Merges while the plan is applied. `source` must outlive the result.
Replacement merge_dropped(const checkpoint::Checkpoint& source, const plan::PrunePlan& plan);
// What it holds at a time.
std::int64_t merge_bytes(const arch::Arch& arch, const arch::ModelDims& before);

}  // namespace espalier::surgery
