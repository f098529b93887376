// SPDX-License-Identifier: Apache-2.0
// The frame of a page. "</" inside the embedded JSON is broken up, so that no string can end the
// script element.
#include "report/html.h"

#include <cmath>
#include <cstdio>

#include "report/chart_js.h"
#include "report/page.h"

namespace espalier::report {

using Json = nlohmann::ordered_json;

std::string escape(const std::string& text) {
  std::string out;
  for (char c : text) switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out += c;
    }
  return out;
}

double real(const Json& v) { return v.is_number() ? v.get<double>() : std::nan(""); }

std::string fixed(double v, int digits) {
  if (!std::isfinite(v)) return kNotFinite;
  char out[64];
  std::snprintf(out, sizeof out, "%.*f", digits, v);
  return out;
}

void begin_page(std::ostream& out, const std::string& title) {
  const std::string text = escape(title);
  out << "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport "
         "content=\"width=device-width,initial-scale=1\"><meta name=color-scheme "
         "content=\"light dark\"><title>"
      << text << "</title><style>" << kStyle << "</style><body><main><h1>" << text << "</h1>";
}

void figure(std::ostream& out, const std::string& id, const std::string& caption) {
  out << "<figure><canvas id=" << id << " height=220></canvas><figcaption>" << caption
      << "</figcaption></figure>";
}

void end_page(std::ostream& out, const Json& data, const char* script) {
  std::string json = data.dump(-1, ' ', false, Json::error_handler_t::replace);
  for (std::size_t at = 0; (at = json.find("</", at)) != std::string::npos; at += 3)
    json.replace(at, 2, "<\\/");
  out << "</main><script type=\"application/json\" id=data>" << json << "</script><script>"
      << chart_js() << "</script><script>" << kPrelude << script << kDrawn
      << "</script></body></html>\n";
}

}  // namespace espalier::report
