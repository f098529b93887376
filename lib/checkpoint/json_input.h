// JSON from a file somebody else wrote: broken text and absurd nesting (printing a value recurses) end in Error(input) with the place.
#pragma once
#include <nlohmann/json.hpp>
#include <string>

#include "core/error.h"

namespace espalier::checkpoint {

template <typename Json>
Json parse_json(const std::string& text, const std::string& where) {
  constexpr int kMaxDepth = 64;
  try {
    return Json::parse(text, [&](int depth, typename Json::parse_event_t, Json&) {
      ESP_CHECK(depth <= kMaxDepth, input, where, ": JSON nested deeper than ", kMaxDepth, " levels");
      return true;
    });
  } catch (const typename Json::exception& error) {
    core::fail(core::ErrorKind::input, where, ": not valid JSON: ", error.what());
  }
}

}  // namespace espalier::checkpoint
