// SPDX-License-Identifier: Apache-2.0
// Reads tasks line by line.
#include "tasks/task.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "core/error.h"
#include "core/file.h"
#include "format/json_input.h"
#include "text/lines.h"
#include "text/utf8.h"

namespace espalier::tasks {

#define ESP_LAYOUT(name) extern const Layout k_##name;
#include "tasks/layouts.inc"
#undef ESP_LAYOUT

std::span<const Layout* const> all_layouts() {
  static const Layout* const list[] = {
#define ESP_LAYOUT(name) &k_##name,
#include "tasks/layouts.inc"
#undef ESP_LAYOUT
  };
  return list;
}

namespace {

using Json = nlohmann::ordered_json;

std::string keys_of(const Layout& layout) {
  std::string out;
  for (const std::string_view key : layout.keys)
    out += (out.empty() ? "" : ", ") + std::string(key);
  return out;
}

bool has_layout(const Json& line, const Layout& layout) {
  const auto has = [&](std::string_view key) { return line.contains(key); };
  return std::all_of(layout.keys.begin(), layout.keys.end(), has) &&
         std::none_of(layout.others.begin(), layout.others.end(), has);
}

const Layout& layout_of(const Json& line) {
  ESP_CHECK(line.is_object(), input, "expected an item as a JSON object, such as {\"text\": ..}");
  for (const Layout* layout : all_layouts())
    if (has_layout(line, *layout)) return *layout;
  std::string given, known;
  for (const auto& [key, value] : line.items()) given += (given.empty() ? "" : ", ") + key;
  for (const Layout* layout : all_layouts())
    known += (known.empty() ? "" : "; ") + std::string(layout->name) + " has " + keys_of(*layout);
  core::fail(core::ErrorKind::input, "no layout of a task has the keys ", given,
             "; known layouts: ", known);
}

class Reader {
 public:
  Reader(Task& task, const std::string& path) : task_(task), path_(path) {}
  void read(std::string_view bytes) {
    text::for_each_line(bytes, [&](std::string_view line, std::int64_t number) {
      if (!text::is_blank(line)) add(line, number);
    });
    ESP_CHECK(!task_.items.empty(), input, path_,
              ": the task is empty; expected a line of JSON for each item");
  }

 private:
  void add(std::string_view line, std::int64_t number) {
    const std::string place = path_ + ":" + std::to_string(number);
    const Json json = format::parse_json<Json>(line, place);
    try {
      const Layout& layout = layout_of(json);
      if (task_.layout == nullptr) task_.layout = &layout;
      ESP_CHECK(task_.layout == &layout, input, "an item of the layout ", layout.name,
                " in a task of the layout ", task_.layout->name, "; make a file of each");
      task_.items.push_back(layout.read(json));
    } catch (const core::Error& e) {
      core::fail(e.kind(), place, ": ", e.what());
    }
    task_.items.back().line = number;
  }

  Task& task_;
  const std::string& path_;
};

}  // namespace

Task read_task(const TaskFile& file) {
  constexpr std::string_view kMark = "\xEF\xBB\xBF";
  Task out{.name = file.name, .path = file.path};
  const std::string bytes = core::read_text_file(file.path);
  ESP_CHECK(text::is_valid_utf8(bytes), input, file.path,
            ": is not UTF-8 text; expected a line of JSON for each item");
  std::string_view all = bytes;
  if (all.starts_with(kMark)) all.remove_prefix(kMark.size());
  Reader(out, file.path).read(all);
  return out;
}

std::vector<Task> read_tasks(std::span<const TaskFile> files) {
  std::set<std::string> names;
  std::vector<Task> out;
  for (const TaskFile& file : files) {
    ESP_CHECK(names.insert(file.name).second, usage, "two tasks are called '", file.name,
              "'; name them, such as ", file.name, "2=", file.path);
    out.push_back(read_task(file));
  }
  return out;
}

std::string task_name(std::string_view path) {
  std::string_view name = path.substr(path.rfind('/') + 1);
  for (const std::string_view end : {".jsonl", ".json", ".ndjson"})
    if (name.ends_with(end) && name.size() > end.size()) name.remove_suffix(end.size());
  return std::string(name);
}

}  // namespace espalier::tasks
