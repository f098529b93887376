// SPDX-License-Identifier: Apache-2.0
// Reads conversations from JSON.
#include "text/conversation.h"

#include <algorithm>

#include "core/error.h"
#include "format/json_input.h"
#include "text/template/from_json.h"
#include "text/utf8.h"

namespace espalier::text {
namespace {

using OrderedJson = nlohmann::ordered_json;

// Reasoning has had three names. transformers fills the first two from whichever is there.
void name_reasoning(OrderedJson& message) {
  OrderedJson found;
  for (const char* name : {"reasoning_content", "thinking", "reasoning"})
    if (found.is_null() && message.contains(name)) found = message.at(name);
  if (found.is_null()) return;
  message["reasoning_content"] = found;
  if (!message.contains("thinking")) message["thinking"] = found;
}

void collect_texts(const OrderedJson& json, std::vector<std::string>& out) {
  if (json.is_string()) out.push_back(json.get<std::string>());
  if (json.is_structured())
    for (const OrderedJson& item : json) collect_texts(item, out);
}

void check_messages(const OrderedJson& messages, const std::string& where) {
  ESP_CHECK(messages.is_array(), input, where, ": messages: expected an array");
  for (std::size_t i = 0; i < messages.size(); ++i) {
    ESP_CHECK(messages[i].is_object() && messages[i].contains("role") &&
                  messages[i].at("role").is_string(),
              input, where, ": message ", i + 1, ": expected an object with the string role");
    const OrderedJson content = messages[i].value("content", OrderedJson());
    ESP_CHECK(content.is_null() || content.is_string() || content.is_array(), input, where,
              ": message ", i + 1, ": content: expected a text, or a list of parts");
  }
}

void check_objects(const OrderedJson& list, const char* name, const std::string& where) {
  const bool sound =
      list.is_null() ||
      (list.is_array() && std::all_of(list.begin(), list.end(),
                                      [](const OrderedJson& item) { return item.is_object(); }));
  ESP_CHECK(sound, input, where, ": ", name, ": expected an array of objects");
}

}  // namespace

Conversation Conversation::read(std::string_view json, const std::string& where) {
  OrderedJson document = format::parse_json<OrderedJson>(json, where);
  if (document.is_array()) document = OrderedJson{{"messages", std::move(document)}};
  ESP_CHECK(document.is_object() && document.contains("messages"), input, where,
            ": expected an array of messages, or an object with messages");
  for (const auto& [key, unused] : document.items())
    ESP_CHECK(key == "messages" || key == "tools" || key == "documents" ||
                  key == "add_generation_prompt" || key == "chat_template_kwargs",
              input, where, ": unknown key '", key,
              "'; known are messages, tools, documents, add_generation_prompt and "
              "chat_template_kwargs");
  OrderedJson& messages = document.at("messages");
  check_messages(messages, where);
  Conversation out;
  for (OrderedJson& message : messages) {
    name_reasoning(message);
    if (message.at("role") != "assistant") collect_texts(message, out.foreign_texts_);
  }
  const auto take = [&](const char* name, OrderedJson fallback) {
    OrderedJson found = document.value(name, std::move(fallback));
    out.variables_.emplace_back(name, jinja::from_json(found, where));
    return found;
  };
  take("messages", nullptr);
  for (const char* name : {"tools", "documents"}) {
    const OrderedJson list = take(name, nullptr);
    check_objects(list, name, where);
    collect_texts(list, out.foreign_texts_);
  }
  ESP_CHECK(take("add_generation_prompt", true).is_boolean(), input, where,
            ": add_generation_prompt: expected true or false");
  out.has_tools_ = document.contains("tools") && !document.at("tools").is_null();
  if (document.contains("chat_template_kwargs"))
    out.set_options(document.at("chat_template_kwargs").dump(), where + ": chat_template_kwargs");
  return out;
}

Conversation::Conversation(const std::vector<ChatMessage>& messages) {
  std::vector<jinja::Value> list;
  const auto text = [](const std::string& bytes) {
    return jinja::Value::text(replace_broken_utf8(bytes));
  };
  for (const ChatMessage& message : messages) {
    list.push_back(jinja::Value::dict(
        {{text("role"), text(message.role)}, {text("content"), text(message.content)}}));
    if (message.role != "assistant") foreign_texts_.push_back(message.content);
  }
  variables_ = {{"messages", jinja::Value::list(std::move(list))},
                {"tools", jinja::Value::none()},
                {"documents", jinja::Value::none()},
                {"add_generation_prompt", jinja::Value::boolean(true)}};
}

void Conversation::set_options(std::string_view json, const std::string& where) {
  const OrderedJson options = format::parse_json<OrderedJson>(json, where);
  ESP_CHECK(options.is_object(), input, where, ": expected an object");
  for (const auto& option : options.items()) {
    const bool taken = std::any_of(variables_.begin(), variables_.end(), [&](const auto& variable) {
      return variable.first == option.key();
    });
    ESP_CHECK(!taken, input, where, ": '", option.key(), "' stands there already");
    variables_.emplace_back(option.key(), jinja::from_json(option.value(), where));
  }
}

}  // namespace espalier::text
