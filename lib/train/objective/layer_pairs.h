// SPDX-License-Identifier: Apache-2.0
// Which layer of the teacher each layer of the student is compared with. A pruned student has its
// teacher's layers in plan.json: layer i was layer keep_layers[i].
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace espalier::objective {

struct LayerPair {
  int student, teacher;
};

// What a plan says about the student.
struct Origin {
  std::vector<std::int64_t> layers = {};    // the teacher's layer of each layer; empty: unknown
  std::vector<std::int64_t> channels = {};  // likewise of the hidden size; empty: unknown
  std::string unknown = {};                 // why layers are unknown, for people
};

// Whether pairs can only be found with an origin: none are given, or some name one layer alone.
bool needs_origin(const std::vector<std::string>& given);

// `given` of the option of that name: "3" (a layer of the student, whose origin must be known) or
// "3:8" (student:teacher). None: all layers of the student. Error(usage) names a text that is no
// pair of layers of the two, or a layer that is given twice; Error(input) says what is missing.
std::vector<LayerPair> layer_pairs(const std::string& option, const std::vector<std::string>& given,
                                   const Origin& origin, std::int64_t student_layers,
                                   std::int64_t teacher_layers);
// "3:8"
std::string to_text(const LayerPair& pair);

}  // namespace espalier::objective
