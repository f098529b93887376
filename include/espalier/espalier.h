// SPDX-License-Identifier: Apache-2.0
/* The C interface of Espalier's device runtime: inference with a GGUF file. It is one shared
 * library, libespalier, that needs only the C library. No exception leaves it. Plain C99.
 *
 * Every function that can fail returns a status. espalier_error() then says what failed, where, and
 * what to do. Structures begin with their size, which the ..._init functions set, so that programs
 * and libraries of different versions work together. Texts are UTF-8 and have an explicit length.
 *
 * A function that fills a buffer returns the number of entries. If the buffer is too small, it
 * fills nothing, returns the number needed, and its status is ESPALIER_SHORT_BUFFER. Call it with
 * capacity 0 to ask for that number.
 *
 * A session serves one text at a time, and one thread at a time. Different threads may use
 * different sessions. */
#ifndef ESPALIER_ESPALIER_H
#define ESPALIER_ESPALIER_H

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define ESPALIER_API __attribute__((visibility("default")))
#else
#define ESPALIER_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

typedef enum espalier_status {
  ESPALIER_OK = 0,
  ESPALIER_INTERNAL = 1,
  ESPALIER_USAGE = 2,       /* an invalid argument, or a full context */
  ESPALIER_INPUT = 3,       /* a file that is missing or broken */
  ESPALIER_UNSUPPORTED = 4, /* a model, template or processor that is not supported */
  ESPALIER_NO_MEMORY = 6,
  ESPALIER_SHORT_BUFFER = 7
} espalier_status;

ESPALIER_API const char* espalier_version(void); /* "0.1.0" */
/* The error message of this thread's last call, or "" if that call succeeded. Valid until this
 * thread's next call. */
ESPALIER_API const char* espalier_error(void);

/* ---- sessions ---- */

typedef struct espalier_session espalier_session;

typedef enum espalier_kv {
  ESPALIER_KV_F32 = 0,
  ESPALIER_KV_F16 = 1,
  ESPALIER_KV_Q8_0 = 2,
  ESPALIER_KV_Q4_0 = 3
} espalier_kv;

typedef struct espalier_options {
  size_t struct_size;
  int32_t threads; /* 0: all processors */
  int32_t kv;      /* an espalier_kv: the type of the KV cache; default F16 */
  int64_t context; /* positions in the KV cache; 0: the model's context, at most 4096 */
  const char* isa; /* NULL: the best of this processor; or "reference", "avx2", ... */
  /* 1: each thread stays on one processor. The calling thread does too, while the session lives. */
  int32_t pin;
} espalier_options;
/* Sets the defaults. struct_size is sizeof(espalier_options). The other ..._init functions work the
 * same way. */
ESPALIER_API espalier_status espalier_options_init(espalier_options* options, size_t struct_size);

/* Opens a model. options: NULL for the defaults. If a packed file lies beside the model
 * ("espalier-run pack"), matrices are mapped from it. */
ESPALIER_API espalier_status espalier_load(const char* path, const espalier_options* options,
                                           espalier_session** session);
ESPALIER_API void espalier_free(espalier_session* session); /* NULL is allowed */

typedef struct espalier_info {
  size_t struct_size;
  const char* architecture; /* all strings here are valid as long as the session */
  const char* isa;
  int64_t vocab, layers, hidden, head_dim;
  int64_t positions;              /* the model's context length */
  int64_t context, position;      /* capacity of the KV cache, and tokens in it */
  int64_t kv_bytes_per_token;     /* times `context`: size of the full KV cache */
  int64_t weight_bytes_per_token; /* weights read to decode one token */
  int32_t threads;
  int32_t has_chat_template; /* 1: espalier_tokenize_chat() can run the file's template */
  const char* packed_file;   /* from which matrices are mapped; "": they were packed on loading */
  /* Why an existing packed file is not used. "": it is used, or there is none. */
  const char* packed_refusal;
} espalier_info;
ESPALIER_API espalier_status espalier_get_info(espalier_session* session, espalier_info* info,
                                               size_t struct_size);

/* ---- tokens ---- */

enum {
  ESPALIER_ADD_SPECIAL = 1,  /* BOS and EOS where the model adds them */
  ESPALIER_PARSE_SPECIAL = 2 /* special tokens spelled out in the text become their ids */
};
ESPALIER_API espalier_status espalier_tokenize(espalier_session* session, const char* text,
                                               size_t text_bytes, int flags, int32_t* tokens,
                                               size_t capacity, size_t* n_tokens);
typedef struct espalier_message {
  /* "system", "user", "assistant", or what else the template knows. Zero-terminated. */
  const char* role;
  const char* content; /* zero-terminated */
} espalier_message;
/* Tokens of a conversation in the model's own template, up to where the answer begins. A template
 * that refuses the conversation is ESPALIER_UNSUPPORTED. */
ESPALIER_API espalier_status espalier_tokenize_chat(espalier_session* session,
                                                    const espalier_message* messages,
                                                    size_t n_messages, int32_t* tokens,
                                                    size_t capacity, size_t* n_tokens);
/* The same for a conversation in JSON, with tools, documents and further variables of the template.
 * Its keys are those of "espalier-run tokenize --messages". */
ESPALIER_API espalier_status espalier_tokenize_chat_json(espalier_session* session,
                                                         const char* json, size_t json_bytes,
                                                         int32_t* tokens, size_t capacity,
                                                         size_t* n_tokens);
/* Writes valid UTF-8 and a zero byte. *n_bytes does not count the zero byte, but `capacity` must
 * have room for it. */
ESPALIER_API espalier_status espalier_detokenize(espalier_session* session, const int32_t* tokens,
                                                 size_t n_tokens, char* text, size_t capacity,
                                                 size_t* n_bytes);

/* ---- logits ---- */

/* Appends tokens to the text and computes the logits [vocab] after the last one. Pass NULL and 0 if
 * they are not needed. */
ESPALIER_API espalier_status espalier_prefill(espalier_session* session, const int32_t* tokens,
                                              size_t n_tokens, float* logits, size_t capacity);
/* The same for one token. */
ESPALIER_API espalier_status espalier_decode(espalier_session* session, int32_t token,
                                             float* logits, size_t capacity);
/* Takes back the last tokens, so that `position` tokens remain. 0 empties the text. */
ESPALIER_API espalier_status espalier_rewind(espalier_session* session, int64_t position);

/* ---- writing ---- */

typedef struct espalier_generate_options {
  size_t struct_size;
  int64_t tokens;        /* maximum number of tokens; default 128 */
  double temperature;    /* 0: greedy */
  int64_t top_k;         /* 0: all */
  double top_p;          /* 1: all */
  double min_p;          /* 0: all */
  double repeat_penalty; /* 1: none */
  int64_t repeat_window; /* number of last tokens that the penalty applies to; 0: all; default 64 */
  uint64_t seed;
  const char* const* stops; /* zero-terminated; the text ends before the first occurrence of any */
  size_t n_stops;
  int32_t keep; /* not 0: the part of the prompt that the session already holds is not read again */
  /* NULL, or a small model of the same vocabulary that guesses tokens ahead. A draft does not
   * change the distribution of the text. */
  espalier_session* draft;
  int64_t draft_tokens; /* tokens guessed at a time; default 4 */
} espalier_generate_options;
ESPALIER_API espalier_status espalier_generate_options_init(espalier_generate_options* options,
                                                            size_t struct_size);

typedef enum espalier_end {
  ESPALIER_END_TOKEN = 0,
  ESPALIER_END_STOP_STRING = 1,
  ESPALIER_END_LIMIT = 2,
  ESPALIER_END_CONTEXT = 3,
  ESPALIER_END_CALLER = 4
} espalier_end;

typedef struct espalier_result {
  size_t struct_size;
  int64_t generated_tokens;
  int32_t end;                       /* an espalier_end */
  int64_t drafted, judged, accepted; /* with a draft: guesses made, judged, accepted */
  double prefill_seconds, decode_seconds;
} espalier_result;

/* Receives the text in pieces: whole UTF-8 characters, not zero-terminated. Return 0 to continue,
 * any other value to end the text. */
typedef int (*espalier_text)(const char* text, size_t n_bytes, void* user);

/* Reads the prompt from position 0 and continues it. options: NULL for the defaults. result may be
 * NULL. */
ESPALIER_API espalier_status espalier_generate(espalier_session* session, const int32_t* prompt,
                                               size_t n_prompt,
                                               const espalier_generate_options* options,
                                               espalier_text text, void* user,
                                               espalier_result* result, size_t result_size);

#ifdef __cplusplus
}
#endif
#endif
