// SPDX-License-Identifier: Apache-2.0
/* Espalier's device runtime for C: a GGUF file opened for inference. One shared library,
 * libespalier, without other needs than the C library. No exception leaves it. Plain C99.
 *
 * Every function that can fail returns a status; espalier_error() then says what failed, where, and
 * what to do. Structures begin with their size, set by their ..._init function, so that programs
 * and libraries of different versions understand each other. Texts are UTF-8 and come with their
 * length. Where a function fills a buffer, it says how many entries there are; with too little room
 * it fills nothing, says how many are needed, and returns ESPALIER_SHORT_BUFFER: call with capacity
 * 0 to ask.
 *
 * A session serves one text at a time, from one thread at a time. Different sessions may be used by
 * different threads. */
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
  ESPALIER_USAGE = 2,       /* an argument that makes no sense, or a full context */
  ESPALIER_INPUT = 3,       /* a file that is absent or broken */
  ESPALIER_UNSUPPORTED = 4, /* a model, template or processor that is not supported */
  ESPALIER_NO_MEMORY = 6,
  ESPALIER_SHORT_BUFFER = 7
} espalier_status;

ESPALIER_API const char* espalier_version(void); /* "0.1.0" */
/* What the last call of this thread that failed says; "" when its last call succeeded. Valid until
 * this thread's next call. */
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
  int32_t kv;      /* an espalier_kv: the type of the KV cache; F16 unless set */
  int64_t context; /* positions in the KV cache; 0: the model's, at most 4096 */
  const char* isa; /* NULL: the best the processor has; or "reference", "avx2", ... */
  int32_t
      pin; /* 1: each thread stays on one processor, the calling one too while the session lives */
} espalier_options;
/* Sets the defaults. struct_size: sizeof(espalier_options). The same for the other ..._init
 * functions. */
ESPALIER_API espalier_status espalier_options_init(espalier_options* options, size_t struct_size);

/* options: NULL for the defaults. Matrices are mapped from the packed file beside the model where
 * there is one ("espalier-run pack"). */
ESPALIER_API espalier_status espalier_load(const char* path, const espalier_options* options,
                                           espalier_session** session);
ESPALIER_API void espalier_free(espalier_session* session); /* NULL is allowed */

typedef struct espalier_info {
  size_t struct_size;
  const char* architecture; /* valid as long as the session, as are all strings here */
  const char* isa;
  int64_t vocab, layers, hidden, head_dim;
  int64_t positions;              /* the longest text the model was made for */
  int64_t context, position;      /* room in the KV cache, and tokens in it */
  int64_t kv_bytes_per_token;     /* kv_bytes_per_token * context: the KV cache when full */
  int64_t weight_bytes_per_token; /* weights read to decode one token */
  int32_t threads;
  int32_t has_chat_template; /* 1: espalier_tokenize_chat() knows the file's template */
  const char* packed_file;   /* from which matrices are mapped; "": they were packed on loading */
  const char*
      packed_refusal; /* why a packed file that is there is not used; "": it is, or there is none */
} espalier_info;
ESPALIER_API espalier_status espalier_get_info(espalier_session* session, espalier_info* info,
                                               size_t struct_size);

/* ---- tokens ---- */

enum {
  ESPALIER_ADD_SPECIAL = 1,  /* BOS and EOS where the model adds them */
  ESPALIER_PARSE_SPECIAL = 2 /* special tokens written out in the text become their ids */
};
ESPALIER_API espalier_status espalier_tokenize(espalier_session* session, const char* text,
                                               size_t text_bytes, int flags, int32_t* tokens,
                                               size_t capacity, size_t* n_tokens);
typedef struct espalier_message {
  const char*
      role; /* "system" (only the first), then "user" and "assistant" in turn; zero-terminated */
  const char* content; /* zero-terminated */
} espalier_message;
/* A conversation in the model's own template, up to where its answer begins. */
ESPALIER_API espalier_status espalier_tokenize_chat(espalier_session* session,
                                                    const espalier_message* messages,
                                                    size_t n_messages, int32_t* tokens,
                                                    size_t capacity, size_t* n_tokens);
/* Valid UTF-8; *n_bytes does not count the zero byte written behind it, which needs room too. */
ESPALIER_API espalier_status espalier_detokenize(espalier_session* session, const int32_t* tokens,
                                                 size_t n_tokens, char* text, size_t capacity,
                                                 size_t* n_bytes);

/* ---- logits ---- */

/* Appends tokens to the text; logits [vocab] of what follows the last one, or NULL and 0 when
 * nobody wants them. */
ESPALIER_API espalier_status espalier_prefill(espalier_session* session, const int32_t* tokens,
                                              size_t n_tokens, float* logits, size_t capacity);
ESPALIER_API espalier_status espalier_decode(espalier_session* session, int32_t token,
                                             float* logits, size_t capacity);
/* Takes back the last tokens: `position` are left, 0 for none. */
ESPALIER_API espalier_status espalier_rewind(espalier_session* session, int64_t position);

/* ---- writing ---- */

typedef struct espalier_generate_options {
  size_t struct_size;
  int64_t tokens;        /* at most; 128 */
  double temperature;    /* 0: greedy */
  int64_t top_k;         /* 0: all */
  double top_p;          /* 1: all */
  double min_p;          /* 0: all */
  double repeat_penalty; /* 1: none */
  int64_t repeat_window; /* the last tokens the penalty looks at; 0: all; 64 */
  uint64_t seed;
  const char* const* stops; /* zero-terminated strings before which the text ends */
  size_t n_stops;
  int32_t keep; /* not 0: what the session holds of the prompt already is not read again */
  espalier_session* draft; /* NULL, or a small model of the same vocabulary that guesses tokens
                              ahead; the result is as exact as without */
  int64_t draft_tokens;    /* guessed at a time; 4 */
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
  int64_t drafted, judged, accepted; /* with a draft: tokens guessed, looked at, taken */
  double prefill_seconds, decode_seconds;
} espalier_result;

/* Gets the text piece by piece: whole UTF-8 characters, not zero-terminated. Not 0: enough. */
typedef int (*espalier_text)(const char* text, size_t n_bytes, void* user);

/* Reads the prompt from position 0 and continues it. options: NULL for the defaults; result: may be
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
