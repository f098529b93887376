// SPDX-License-Identifier: Apache-2.0
/* Opens a GGUF file, says what it is, and continues a text: example FILE.gguf PROMPT [TOKENS]
 * With the prompt "-" it is only opened. Errors are printed and become the exit code. */
#include <espalier/espalier.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int print_text(const char* text, size_t n_bytes, void* user) {
  (void)user;
  return fwrite(text, 1, n_bytes, stdout) == n_bytes ? 0 : 1;
}

static int failed(const char* what, espalier_status status) {
  fprintf(stderr, "%s: %s\n", what, espalier_error());
  return (int)status;
}

/* The most probable next token, by hand: what espalier_generate() does at temperature 0. */
static espalier_status best_next(espalier_session* session, const int32_t* tokens, size_t n,
                                 size_t vocab, int32_t* best) {
  espalier_status status;
  size_t i;
  float* logits = malloc(vocab * sizeof *logits);
  if (logits == NULL) return ESPALIER_NO_MEMORY;
  status = espalier_prefill(session, tokens, n, logits, vocab);
  *best = 0;
  for (i = 1; status == ESPALIER_OK && i < vocab; ++i)
    if (logits[i] > logits[*best]) *best = (int32_t)i;
  free(logits);
  return status;
}

int main(int argc, char** argv) {
  espalier_session* session = NULL;
  espalier_options options;
  espalier_info info;
  espalier_generate_options generate;
  espalier_result result;
  espalier_status status;
  int32_t* tokens;
  int32_t first = 0;
  size_t n = 0;

  if (argc < 3) {
    fprintf(stderr, "usage: %s FILE.gguf PROMPT [TOKENS]\n", argv[0]);
    return ESPALIER_USAGE;
  }
  espalier_options_init(&options, sizeof options);
  options.threads = 2;
  status = espalier_load(argv[1], &options, &session);
  if (status != ESPALIER_OK) return failed("load", status);
  status = espalier_get_info(session, &info, sizeof info);
  if (status != ESPALIER_OK) return failed("info", status);
  fprintf(
      stderr,
      "libespalier %s: %s, %ld layers, %ld tokens in the vocabulary, KV cache of %ld bytes, %s\n",
      espalier_version(), info.architecture, (long)info.layers, (long)info.vocab,
      (long)(info.kv_bytes_per_token * info.context), info.isa);
  if (strcmp(argv[2], "-") == 0) {
    espalier_free(session);
    return 0;
  }

  /* Ask for the number of tokens, then for the tokens. */
  status = espalier_tokenize(session, argv[2], strlen(argv[2]), ESPALIER_ADD_SPECIAL, NULL, 0, &n);
  if (status != ESPALIER_OK && status != ESPALIER_SHORT_BUFFER) return failed("tokenize", status);
  tokens = malloc((n + 1) * sizeof *tokens);
  if (tokens == NULL) return ESPALIER_NO_MEMORY;
  status =
      espalier_tokenize(session, argv[2], strlen(argv[2]), ESPALIER_ADD_SPECIAL, tokens, n, &n);
  if (status != ESPALIER_OK) return failed("tokenize", status);
  status = best_next(session, tokens, n, (size_t)info.vocab, &first);
  if (status != ESPALIER_OK) return failed("prefill", status);

  espalier_generate_options_init(&generate, sizeof generate);
  if (argc > 3) generate.tokens = atol(argv[3]);
  generate.keep = 1; /* the prompt has been read */
  status =
      espalier_generate(session, tokens, n, &generate, print_text, NULL, &result, sizeof result);
  if (status != ESPALIER_OK) return failed("generate", status);
  printf("\n");
  fprintf(stderr, "token %ld first, %ld tokens in %.3f s\n", (long)first,
          (long)result.generated_tokens, result.prefill_seconds + result.decode_seconds);
  free(tokens);
  espalier_free(session);
  return 0;
}
