// SPDX-License-Identifier: Apache-2.0
// Reads pairs of layers and completes them from the student's origin.
#include "objective/layer_pairs.h"

#include <algorithm>
#include <charconv>

#include "core/error.h"

namespace espalier::objective {
namespace {

// -1: not a number.
std::int64_t whole_number(const std::string& text) {
  std::int64_t value = -1;
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  return error == std::errc() && stop == end ? value : -1;
}

std::int64_t layer(const std::string& text, std::int64_t layers, const char* model,
                   const std::string& where) {
  const std::int64_t index = whole_number(text);
  ESP_CHECK(index >= 0 && index < layers, usage, where, ": the ", model, " has layers 0 to ",
            layers - 1,
            "; expected a layer of the student such as 3, or student:teacher such as 3:8");
  return index;
}

}  // namespace

bool needs_origin(const std::vector<std::string>& given) {
  return given.empty() || std::any_of(given.begin(), given.end(), [](const std::string& text) {
           return text.find(':') == std::string::npos;
         });
}

std::vector<LayerPair> layer_pairs(const std::string& option, const std::vector<std::string>& given,
                                   const Origin& origin, std::int64_t student_layers,
                                   std::int64_t teacher_layers) {
  if (needs_origin(given)) {
    ESP_CHECK(
        !origin.layers.empty(), input, origin.unknown,
        ", so it is not known which layer of the teacher each layer of the student was; give ",
        option, " as pairs student:teacher, such as [0:0, 3:8]");
    ESP_CHECK(static_cast<std::int64_t>(origin.layers.size()) == student_layers, input,
              "the plan keeps ", origin.layers.size(), " layers, but the student has ",
              student_layers, "; give ", option, " as pairs student:teacher, such as [0:0, 3:8]");
  }
  std::vector<std::string> texts = given;
  for (std::int64_t l = 0; given.empty() && l < student_layers; ++l)
    texts.push_back(std::to_string(l));
  std::vector<LayerPair> out;
  for (const std::string& text : texts) {
    const std::string where = option + ": '" + text + "'";
    const std::size_t colon = text.find(':');
    const std::int64_t student = layer(text.substr(0, colon), student_layers, "student", where);
    const std::int64_t teacher =
        colon == std::string::npos
            ? origin.layers[static_cast<std::size_t>(student)]
            : layer(text.substr(colon + 1), teacher_layers, "teacher", where);
    for (const LayerPair& pair : out)
      ESP_CHECK(pair.student != student, usage, where, ": layer ", student,
                " of the student is given twice; leave one out");
    out.push_back({static_cast<int>(student), static_cast<int>(teacher)});
  }
  return out;
}

std::string to_text(const LayerPair& pair) {
  return std::to_string(pair.student) + ":" + std::to_string(pair.teacher);
}

}  // namespace espalier::objective
