// SPDX-License-Identifier: Apache-2.0
// The C interface to the device tower. It checks arguments and turns exceptions into a status and a
// message of the calling thread.
#include <espalier/espalier.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <memory>
#include <new>
#include <optional>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "core/error.h"
#include "runtime/generator.h"
#include "text/chat_template.h"
#include "version/version.h"

using espalier::core::Error;
using espalier::core::ErrorKind;
namespace runtime = espalier::runtime;
namespace text = espalier::text;

struct espalier_session {
  espalier_session(const std::string& file, const runtime::SessionOptions& options)
      : path(file), session(file, options), reader(session) {
    architecture = std::string(session.arch().name);
    isa = session.isa();
    packed_file = session.packed_file();
    packed_refusal = session.packed_refusal();
  }
  const text::ChatTemplate& chat() {
    if (!conversation) conversation.emplace(session.tokenizer(), path, text::named_templates(path));
    return *conversation;
  }

  std::string path, architecture, isa, packed_file, packed_refusal;
  runtime::Session session;
  runtime::TokenReader reader;
  std::optional<text::ChatTemplate> conversation;
};

namespace {

// A fixed buffer, because reporting that memory is short must not need memory.
thread_local char last_error[2048] = "";

void set_error(const char* message) noexcept {
  std::snprintf(last_error, sizeof last_error, "%s", message);
}

espalier_status status_of(ErrorKind kind) noexcept {
  switch (kind) {
    case ErrorKind::usage:
      return ESPALIER_USAGE;
    case ErrorKind::input:
      return ESPALIER_INPUT;
    case ErrorKind::unsupported:
      return ESPALIER_UNSUPPORTED;
    case ErrorKind::internal:
    case ErrorKind::check_failed:
      return ESPALIER_INTERNAL;
  }
  return ESPALIER_INTERNAL;
}

// Calls f and turns exceptions into a status. f returns nothing, or a status.
template <typename F>
espalier_status guarded(F&& f) noexcept {
  last_error[0] = '\0';
  try {
    if constexpr (std::is_void_v<decltype(f())>) {
      f();
      return ESPALIER_OK;
    } else {
      return f();
    }
  } catch (const Error& e) {
    set_error(e.what());
    return status_of(e.kind());
  } catch (const std::bad_alloc&) {
    set_error("not enough memory");
    return ESPALIER_NO_MEMORY;
  } catch (const std::exception& e) {
    set_error(e.what());
    return ESPALIER_INTERNAL;
  } catch (...) {
    set_error("an error without a message");
    return ESPALIER_INTERNAL;
  }
}

template <typename T>
T& non_null(T* pointer, const char* name) {
  ESP_CHECK(pointer != nullptr, usage, name, " is NULL");
  return *pointer;
}

template <typename T>
std::span<const T> need_array(const T* data, std::size_t n, const char* name) {
  ESP_CHECK(data != nullptr || n == 0, usage, name, " is NULL, but has ", n, " entries");
  return {data, n};
}

// Copies as much of `from` as the caller's structure has room for. Fields that the library does not
// know become zero.
template <typename T>
void copy_out(T* to, T from, std::size_t struct_size, const char* name) {
  non_null(to, name);
  ESP_CHECK(struct_size > sizeof(std::size_t), usage, name, ": the structure has ", struct_size,
            " bytes, expected sizeof(", name, ")");
  from.struct_size = struct_size;
  std::memset(to, 0, struct_size);
  std::memcpy(to, &from, std::min(struct_size, sizeof(T)));
}

// The caller's structure, with defaults for the fields that it lacks.
template <typename T>
T with_defaults(const T* from, T defaults, const char* name) {
  if (from == nullptr) return defaults;
  const std::size_t size = from->struct_size;
  ESP_CHECK(size > sizeof(std::size_t), usage, name, ": struct_size is ", size, "; set it with ",
            name, "_init()");
  std::memcpy(&defaults, from, std::min(size, sizeof(T)));
  return defaults;
}

espalier_options default_options() {
  return {.struct_size = sizeof(espalier_options),
          .threads = 0,
          .kv = ESPALIER_KV_F16,
          .context = 0,
          .isa = nullptr,
          .pin = 0};
}

espalier_generate_options default_generate_options() {
  const runtime::GenerateOptions g;
  const runtime::SamplerOptions s;
  return {.struct_size = sizeof(espalier_generate_options),
          .tokens = g.tokens,
          .temperature = s.temperature,
          .top_k = s.top_k,
          .top_p = s.top_p,
          .min_p = s.min_p,
          .repeat_penalty = s.repeat_penalty,
          .repeat_window = s.repeat_window,
          .seed = s.seed,
          .stops = nullptr,
          .n_stops = 0,
          .keep = 0,
          .draft = nullptr,
          .draft_tokens = g.draft_tokens};
}

espalier_status fill(const std::vector<std::int32_t>& ids, std::int32_t* tokens,
                     std::size_t capacity, std::size_t* n_tokens) {
  non_null(n_tokens, "n_tokens") = ids.size();
  if (capacity < ids.size()) {
    set_error("the buffer is too short for these tokens; *n_tokens says how many there are");
    return ESPALIER_SHORT_BUFFER;
  }
  if (!ids.empty()) std::copy(ids.begin(), ids.end(), &non_null(tokens, "tokens"));
  return ESPALIER_OK;
}

espalier_status read(espalier_session& s, std::span<const std::int32_t> tokens, float* logits,
                     std::size_t capacity) {
  const auto vocab = static_cast<std::size_t>(s.session.dims().vocab);
  if (logits != nullptr && capacity < vocab) {
    set_error(
        "the buffer is too short for the logits; espalier_get_info() says how many there are "
        "(vocab)");
    return ESPALIER_SHORT_BUFFER;
  }
  ESP_CHECK(logits != nullptr || capacity == 0, usage, "logits is NULL, but has ", capacity,
            " entries");
  const std::span<const float> found = s.reader.read(tokens);
  if (logits != nullptr) std::copy(found.begin(), found.end(), logits);
  return ESPALIER_OK;
}

}  // namespace

extern "C" {

const char* espalier_version(void) { return espalier::version::number(); }
const char* espalier_error(void) { return last_error; }

espalier_status espalier_options_init(espalier_options* options, size_t struct_size) {
  return guarded([&] { copy_out(options, default_options(), struct_size, "espalier_options"); });
}

espalier_status espalier_load(const char* path, const espalier_options* options,
                              espalier_session** session) {
  return guarded([&] {
    non_null(session, "session") = nullptr;
    const espalier_options o = with_defaults(options, default_options(), "espalier_options");
    using Kv = runtime::SessionOptions::KvType;
    constexpr Kv kTypes[] = {Kv::f32, Kv::f16, Kv::q8_0, Kv::q4_0};  // indexed by espalier_kv
    ESP_CHECK(o.kv >= ESPALIER_KV_F32 && o.kv <= ESPALIER_KV_Q4_0, usage, "kv is ", o.kv,
              ", expected an espalier_kv");
    ESP_CHECK(o.threads >= 0 && o.threads <= 1024, usage, "threads is ", o.threads,
              ", expected 0 to 1024");
    *session = new espalier_session(&non_null(path, "path"), {.threads = o.threads,
                                                              .pin = o.pin != 0,
                                                              .context = o.context,
                                                              .isa = o.isa == nullptr ? "" : o.isa,
                                                              .kv = kTypes[o.kv],
                                                              .tokenizer_first = true});
  });
}

void espalier_free(espalier_session* session) { delete session; }

espalier_status espalier_get_info(espalier_session* session, espalier_info* info,
                                  size_t struct_size) {
  return guarded([&] {
    espalier_session& s = non_null(session, "session");
    bool chat = true;
    try {
      s.chat();
    } catch (const Error& e) {
      if (e.kind() != ErrorKind::unsupported) throw;
      chat = false;
    }
    const espalier::arch::ModelDims& d = s.session.dims();
    copy_out(info,
             {.struct_size = 0,
              .architecture = s.architecture.c_str(),
              .isa = s.isa.c_str(),
              .vocab = d.vocab,
              .layers = static_cast<std::int64_t>(d.layers.size()),
              .hidden = d.hidden,
              .head_dim = d.head_dim,
              .positions = d.positions,
              .context = s.session.context(),
              .position = s.session.position(),
              .kv_bytes_per_token = s.session.kv_bytes_per_token(),
              .weight_bytes_per_token = s.session.weight_bytes_per_token(),
              .threads = s.session.threads(),
              .has_chat_template = chat ? 1 : 0,
              .packed_file = s.packed_file.c_str(),
              .packed_refusal = s.packed_refusal.c_str()},
             struct_size, "espalier_info");
  });
}

espalier_status espalier_tokenize(espalier_session* session, const char* bytes, size_t text_bytes,
                                  int flags, int32_t* tokens, size_t capacity, size_t* n_tokens) {
  return guarded([&] {
    const std::span<const char> in = need_array(bytes, text_bytes, "text");
    ESP_CHECK((flags & ~(ESPALIER_ADD_SPECIAL | ESPALIER_PARSE_SPECIAL)) == 0, usage, "flags is ",
              flags, ", which has unknown bits");
    return fill(non_null(session, "session")
                    .session.tokenizer()
                    .encode({in.data(), in.size()}, (flags & ESPALIER_ADD_SPECIAL) != 0,
                            (flags & ESPALIER_PARSE_SPECIAL) != 0),
                tokens, capacity, n_tokens);
  });
}

espalier_status espalier_tokenize_chat(espalier_session* session, const espalier_message* messages,
                                       size_t n_messages, int32_t* tokens, size_t capacity,
                                       size_t* n_tokens) {
  return guarded([&] {
    espalier_session& s = non_null(session, "session");
    std::vector<text::ChatMessage> said;
    for (const espalier_message& m : need_array(messages, n_messages, "messages"))
      said.push_back({&non_null(m.role, "role"), &non_null(m.content, "content")});
    return fill(s.chat().encode(s.session.tokenizer(), text::Conversation(said)), tokens, capacity,
                n_tokens);
  });
}

espalier_status espalier_tokenize_chat_json(espalier_session* session, const char* json,
                                            size_t json_bytes, int32_t* tokens, size_t capacity,
                                            size_t* n_tokens) {
  return guarded([&] {
    espalier_session& s = non_null(session, "session");
    const std::span<const char> in = need_array(json, json_bytes, "json");
    const text::Conversation said =
        text::Conversation::read({in.data(), in.size()}, "the conversation");
    return fill(s.chat().encode(s.session.tokenizer(), said), tokens, capacity, n_tokens);
  });
}

espalier_status espalier_detokenize(espalier_session* session, const int32_t* tokens,
                                    size_t n_tokens, char* out, size_t capacity, size_t* n_bytes) {
  return guarded([&] {
    espalier_session& s = non_null(session, "session");
    const std::span<const std::int32_t> ids = need_array(tokens, n_tokens, "tokens");
    for (const std::int32_t id : ids)
      ESP_CHECK(id >= 0 && id < s.session.dims().vocab, usage, "token ", id,
                " is not in the vocabulary of ", s.session.dims().vocab);
    const std::string decoded = s.session.tokenizer().decode({ids.begin(), ids.end()});
    non_null(n_bytes, "n_bytes") = decoded.size();
    if (capacity <= decoded.size()) {
      set_error(
          "the buffer is too short for this text and its zero byte; *n_bytes says how long the "
          "text is");
      return ESPALIER_SHORT_BUFFER;
    }
    std::memcpy(&non_null(out, "text"), decoded.c_str(), decoded.size() + 1);
    return ESPALIER_OK;
  });
}

espalier_status espalier_prefill(espalier_session* session, const int32_t* tokens, size_t n_tokens,
                                 float* logits, size_t capacity) {
  return guarded([&] {
    return read(non_null(session, "session"), need_array(tokens, n_tokens, "tokens"), logits,
                capacity);
  });
}

espalier_status espalier_decode(espalier_session* session, int32_t token, float* logits,
                                size_t capacity) {
  return guarded([&] { return read(non_null(session, "session"), {&token, 1}, logits, capacity); });
}

espalier_status espalier_rewind(espalier_session* session, int64_t position) {
  return guarded([&] {
    espalier_session& s = non_null(session, "session");
    ESP_CHECK(position == 0 ||
                  (position >= s.session.earliest_rewind() && position <= s.reader.position()),
              usage, "position is ", position, ", expected 0, or ", s.session.earliest_rewind(),
              " to ", s.reader.position());
    if (position == 0)
      s.reader.reset();
    else
      s.reader.rewind(position);
  });
}

espalier_status espalier_generate_options_init(espalier_generate_options* options,
                                               size_t struct_size) {
  return guarded([&] {
    copy_out(options, default_generate_options(), struct_size, "espalier_generate_options");
  });
}

espalier_status espalier_generate(espalier_session* session, const int32_t* prompt, size_t n_prompt,
                                  const espalier_generate_options* options, espalier_text show,
                                  void* user, espalier_result* result, size_t result_size) {
  return guarded([&] {
    espalier_session& s = non_null(session, "session");
    const std::span<const std::int32_t> in = need_array(prompt, n_prompt, "prompt");
    const espalier_generate_options o =
        with_defaults(options, default_generate_options(), "espalier_generate_options");
    ESP_CHECK(o.tokens >= 0, usage, "tokens is ", o.tokens, ", expected 0 or more");
    ESP_CHECK(o.draft != session, usage, "draft is the session itself");
    runtime::GenerateOptions write{.tokens = o.tokens, .stops = {}, .draft_tokens = o.draft_tokens};
    for (const char* stop : need_array(o.stops, o.n_stops, "stops"))
      write.stops.emplace_back(&non_null(stop, "a stop string"));
    runtime::Sampler sampler({.temperature = o.temperature,
                              .top_k = o.top_k,
                              .top_p = o.top_p,
                              .min_p = o.min_p,
                              .repeat_penalty = o.repeat_penalty,
                              .repeat_window = o.repeat_window,
                              .seed = o.seed});
    runtime::Show piece;
    if (show != nullptr)
      piece = [&](std::string_view part) { return show(part.data(), part.size(), user) == 0; };
    const runtime::Generated out =
        runtime::Generator(s.reader, o.draft == nullptr ? nullptr : &o.draft->reader)
            .run(in, sampler, write, piece, o.keep != 0);
    if (result == nullptr) return;
    copy_out(result,
             {.struct_size = 0,
              .generated_tokens = static_cast<std::int64_t>(out.tokens.size()),
              .end = static_cast<std::int32_t>(out.end),
              .drafted = out.drafted,
              .judged = out.judged,
              .accepted = out.accepted,
              .prefill_seconds = out.prefill_seconds,
              .decode_seconds = out.decode_seconds},
             result_size, "espalier_result");
  });
}

}  // extern "C"

static_assert(static_cast<int>(runtime::Generated::End::end_token) == ESPALIER_END_TOKEN);
static_assert(static_cast<int>(runtime::Generated::End::stop_string) == ESPALIER_END_STOP_STRING);
static_assert(static_cast<int>(runtime::Generated::End::limit) == ESPALIER_END_LIMIT);
static_assert(static_cast<int>(runtime::Generated::End::context) == ESPALIER_END_CONTEXT);
static_assert(static_cast<int>(runtime::Generated::End::caller) == ESPALIER_END_CALLER);
