// SPDX-License-Identifier: Apache-2.0
// What all pages share: escaping, numbers, the frame, and the embedded data with the script that
// draws them. Internal to lib/pipeline/report.
#pragma once
#include <nlohmann/json.hpp>
#include <ostream>
#include <string>

namespace espalier::report {

// JSON has no infinity; what was none is null.
inline constexpr const char* kNotFinite = "not finite";

std::string escape(const std::string& text);
double real(const nlohmann::ordered_json& v);  // NaN for what is no number
std::string fixed(double v, int digits);

// Everything up to the title, as text.
void begin_page(std::ostream& out, const std::string& title);
// A canvas that the script draws on. `caption` is HTML.
void figure(std::ostream& out, const std::string& id, const std::string& caption);
// Embeds `data` and ends the page. `script` draws from it.
void end_page(std::ostream& out, const nlohmann::ordered_json& data, const char* script);

}  // namespace espalier::report
