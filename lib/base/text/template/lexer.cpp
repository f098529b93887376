// SPDX-License-Identifier: Apache-2.0
// One pass: text up to the next tag, then the tokens of the tag.
#include "text/template/lexer.h"

#include <algorithm>
#include <array>

#include "text/template/python_text.h"
#include "text/template/string_literal.h"
#include "text/utf8.h"

namespace espalier::text::jinja {
namespace {

using Type = Token::Type;

bool is_digit_byte(char c) { return c >= '0' && c <= '9'; }
bool is_name_byte(char c) {
  return is_digit_byte(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
         (static_cast<unsigned char>(c) & 0x80) != 0;
}

// Every line break becomes \n, and one at the end goes.
std::string with_plain_breaks(std::string_view source) {
  std::string out;
  for (std::size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
      out += '\n';
    } else {
      out += source[i];
    }
  }
  if (out.ends_with('\n')) out.pop_back();
  return out;
}

class Lexer {
 public:
  explicit Lexer(std::string source) : source_(std::move(source)) {}

  std::vector<Token> run() {
    while (at_ < source_.size()) text();
    out_.push_back({Type::end, "", line_});
    return std::move(out_);
  }

 private:
  bool starts(std::string_view part, std::size_t at) const {
    return std::string_view(source_).substr(at).starts_with(part);
  }
  std::size_t behind_space(std::size_t at) const {
    while (at < source_.size()) {
      const CodePoint point = code_point_at(source_, at);
      if (!is_space(point.value)) break;
      at += point.length;
    }
    return at;
  }
  void move_to(std::size_t at) {
    line_ += static_cast<int>(std::count(source_.begin() + static_cast<std::ptrdiff_t>(at_),
                                         source_.begin() + static_cast<std::ptrdiff_t>(at), '\n'));
    at_ = at;
  }
  [[noreturn]] void fail(const std::string& message) const { throw SyntaxFault{line_, message}; }

  // Where the tag ends that closes with `close` at `at`, with the white space that its sign takes.
  // 0: it does not close there. breaks: a line break behind it goes (trim_blocks).
  std::size_t closes(std::string_view close, std::size_t at, bool breaks) const {
    const bool minus = source_[at] == '-' && starts(close, at + 1);
    if (minus) return behind_space(at + 1 + close.size());
    if (breaks && source_[at] == '+' && starts(close, at + 1)) return at + 1 + close.size();
    if (!starts(close, at)) return 0;
    at += close.size();
    return breaks && at < source_.size() && source_[at] == '\n' ? at + 1 : at;
  }

  // The end of "{% word %}" at `at` (behind its sign, if it has one), or 0. raw does not take the
  // line break behind it.
  std::size_t word_tag(std::string_view word, std::size_t at, bool breaks) const {
    at += 2;
    if (at < source_.size() && (source_[at] == '-' || source_[at] == '+')) ++at;
    at = behind_space(at);
    if (!starts(word, at)) return 0;
    at = behind_space(at + word.size());
    if (at >= source_.size()) return 0;
    if (!breaks && source_[at] == '+') return 0;
    return breaks || source_[at] == '-' ? closes("%}", at, breaks) : starts("%}", at) ? at + 2 : 0;
  }

  // The text before the tag at `tag` as its sign, or lstrip_blocks, leaves it.
  void data(std::size_t tag, bool variable) {
    std::string_view text = std::string_view(source_).substr(at_, tag - at_);
    const char sign = tag + 2 < source_.size() ? source_[tag + 2] : ' ';
    if (sign == '-') {
      text = strip(text, Side::right);
    } else if (sign != '+' && !variable) {
      const std::size_t line = text.rfind('\n') + 1;  // npos + 1 is 0
      const bool whole_line = line > 0 || at_ == 0 || source_[at_ - 1] == '\n';
      if (whole_line && strip(text.substr(line), Side::left).empty()) text = text.substr(0, line);
    }
    if (!text.empty()) out_.push_back({Type::data, std::string(text), line_});
  }

  // From outside of tags up to and with the next tag.
  void text() {
    std::size_t tag = at_;
    const auto is_tag = [&](std::size_t at) {
      return source_[at] == '{' && at + 1 < source_.size() &&
             (source_[at + 1] == '{' || source_[at + 1] == '%' || source_[at + 1] == '#');
    };
    while (tag < source_.size() && !is_tag(tag)) ++tag;
    if (tag == source_.size()) {
      out_.push_back({Type::data, source_.substr(at_), line_});
      return move_to(tag);
    }
    const char kind = source_[tag + 1];
    data(tag, kind == '{');
    move_to(tag);
    if (kind == '#') return comment();
    if (const std::size_t raw = kind == '%' ? word_tag("raw", tag, false) : 0; raw != 0)
      return raw_text(raw);
    const bool sign =
        tag + 2 < source_.size() && (source_[tag + 2] == '-' || source_[tag + 2] == '+');
    out_.push_back({kind == '{' ? Type::variable_begin : Type::block_begin, "", line_});
    move_to(tag + (sign ? 3 : 2));
    inside(kind == '{');
  }

  void comment() {
    std::size_t at = at_ + 2;
    if (at < source_.size() && (source_[at] == '-' || source_[at] == '+')) ++at;
    for (; at < source_.size(); ++at)
      if (const std::size_t end = closes("#}", at, true); end != 0) return move_to(end);
    fail("a comment does not end");
  }

  void raw_text(std::size_t begin) {
    move_to(begin);
    for (std::size_t at = begin; at + 1 < source_.size(); ++at) {
      if (!starts("{%", at)) continue;
      const std::size_t end = word_tag("endraw", at, true);
      if (end == 0) continue;
      data(at, false);
      return move_to(end);
    }
    fail("{% raw %} does not end");
  }

  // The tokens of a tag, up to and with its end.
  void inside(bool variable) {
    std::string open;  // brackets that wait for their other half
    while (at_ < source_.size()) {
      if (open.empty()) {
        const std::size_t end = closes(variable ? "}}" : "%}", at_, !variable);
        if (end != 0) {
          out_.push_back({variable ? Type::variable_end : Type::block_end, "", line_});
          return move_to(end);
        }
      }
      if (const std::size_t next = behind_space(at_); next != at_) {
        move_to(next);
      } else if (is_digit_byte(source_[at_])) {
        number();
      } else if (is_name_byte(source_[at_])) {
        std::size_t end = at_;
        while (end < source_.size() && is_name_byte(source_[end])) ++end;
        add(Type::name, end);
      } else if (source_[at_] == '\'' || source_[at_] == '"') {
        string();
      } else {
        operation(open);
      }
    }
  }

  void add(Type type, std::size_t end) {
    out_.push_back({type, source_.substr(at_, end - at_), line_});
    move_to(end);
  }

  // Digits with single underscores between them.
  std::size_t behind_digits(std::size_t at) const {
    while (at < source_.size() &&
           (is_digit_byte(source_[at]) ||
            (source_[at] == '_' && at + 1 < source_.size() && is_digit_byte(source_[at + 1]))))
      ++at;
    return at;
  }

  void number() {
    const bool behind_dot = at_ > 0 && source_[at_ - 1] == '.';
    std::size_t end = behind_digits(at_);
    bool real = false;
    const auto digit_at = [&](std::size_t at) {
      return at < source_.size() && is_digit_byte(source_[at]);
    };
    if (!behind_dot && starts(".", end) && digit_at(end + 1)) {
      end = behind_digits(end + 1);
      real = true;
    }
    if (!behind_dot && (starts("e", end) || starts("E", end))) {
      const std::size_t sign = starts("+", end + 1) || starts("-", end + 1) ? 2 : 1;
      if (digit_at(end + sign)) {
        end = behind_digits(end + sign);
        real = true;
      }
    }
    const bool based = !real && source_[at_] == '0' && end == at_ + 1 && end + 1 < source_.size() &&
                       std::string_view("xXoObB").find(source_[end]) != std::string_view::npos;
    if (based) fail("numbers of base 2, 8 or 16 are not supported");
    if (!real && source_[at_] == '0' && source_.find_first_not_of("0_", at_) < end)
      fail("a number begins with 0");
    add(real ? Type::real : Type::integer, end);
    std::string& text = out_.back().text;
    text.erase(std::remove(text.begin(), text.end(), '_'), text.end());
  }

  void string() {
    std::size_t end = at_ + 1;
    while (end < source_.size() && source_[end] != source_[at_])
      end += source_[end] == '\\' ? 2 : 1;
    if (end >= source_.size()) fail("a string does not end");
    out_.push_back({Type::string,
                    unescaped(std::string_view(source_).substr(at_ + 1, end - at_ - 1), line_),
                    line_});
    move_to(end + 1);
  }

  void operation(std::string& open) {
    static constexpr std::array<std::string_view, 26> kOperations = {
        "//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[",
        "]",  "(",  ")",  "{",  "}",  ">",  "<", "=", ".", ":", "|", ",", ";"};
    const auto found = std::find_if(kOperations.begin(), kOperations.end(),
                                    [&](std::string_view op) { return starts(op, at_); });
    if (found == kOperations.end())
      fail("unexpected character '" + source_.substr(at_, code_point_at(source_, at_).length) +
           "'");
    const char c = found->front();
    if (c == '(' || c == '[' || c == '{') open += c == '(' ? ')' : c == '[' ? ']' : '}';
    if (c == ')' || c == ']' || c == '}') {
      if (open.empty() || open.back() != c) fail(std::string("unexpected '") + c + "'");
      open.pop_back();
    }
    add(Type::operation, at_ + found->size());
  }

  std::string source_;
  std::size_t at_ = 0;
  int line_ = 1;
  std::vector<Token> out_;
};

}  // namespace

std::vector<Token> tokenize(std::string_view source) {
  return Lexer(with_plain_breaks(source)).run();
}

}  // namespace espalier::text::jinja
