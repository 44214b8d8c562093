/* A plugin in C: succeeds with its inputs as outputs, and misbehaves when the request contains certain words. */
#define _GNU_SOURCE
#include "pinion_plugin.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define METADATA                                                                                                       \
    "{\"id\":\"c-echo\",\"version\":\"1.2.3\",\"abi\":[{\"kind\":\"c\",\"major\":1}],"                                 \
    "\"target\":\"\",\"task_types\":[\"c-echo\"],\"license\":\"Apache-2.0\",\"isolation\":\"in-process\"}"

__attribute__((section(".pinion_plugin"), used)) static const char metadata[] = METADATA;

static const PinionHost *the_host;
static int the_instance;

static void release(uint8_t *ptr, size_t len, size_t cap) {
    (void)len;
    (void)cap;
    free(ptr);
}

static PinionBuf copy(const void *bytes, size_t len) {
    PinionBuf buf = {malloc(len + 1), len, len + 1, release};
    memcpy(buf.ptr, bytes, len);
    return buf;
}

/* Answers with a Status that holds only its code. */
static void refuse(void *token, PinionDone done, uint8_t code) {
    const uint8_t status[] = {0x08, code};
    done(token, code, copy(status, sizeof status));
}

static int varint(const uint8_t **at, const uint8_t *end, uint64_t *value) {
    *value = 0;
    for (int shift = 0; shift < 64 && *at < end; shift += 7) {
        uint8_t byte = *(*at)++;
        *value |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80)) return 1;
    }
    return 0;
}

/* Finds the bytes of field 7 (inputs) of a HandleRequest; 0 when the request can not be read. */
static int inputs_of(PinionSlice request, PinionSlice *inputs) {
    const uint8_t *at = request.ptr, *end = request.ptr + request.len;
    uint64_t tag, len;
    *inputs = (PinionSlice){NULL, 0};
    while (at < end) {
        if (!varint(&at, end, &tag)) return 0;
        switch (tag & 7) {
        case 0:
            if (!varint(&at, end, &len)) return 0;
            break;
        case 2:
            if (!varint(&at, end, &len) || len > (uint64_t)(end - at)) return 0;
            if (tag >> 3 == 7) *inputs = (PinionSlice){at, len};
            at += len;
            break;
        default:
            return 0;
        }
    }
    return 1;
}

static size_t put_varint(uint8_t *out, size_t value) {
    size_t n = 0;
    for (; value > 0x7f; value >>= 7) out[n++] = (uint8_t)(value | 0x80);
    out[n++] = (uint8_t)value;
    return n;
}

/* HandleResponse{phase: {phase: SUCCEEDED}, outputs: {inline: inputs}} */
static void succeed(PinionSlice inputs, void *token, PinionDone done) {
    uint8_t *out = malloc(inputs.len + 32), length[10];
    size_t n = 0, prefix = put_varint(length, inputs.len);
    out[n++] = 0x0a, out[n++] = 0x02, out[n++] = 0x08, out[n++] = 0x06;
    out[n++] = 0x1a;
    n += put_varint(out + n, 1 + prefix + inputs.len);
    out[n++] = 0x12;
    memcpy(out + n, length, prefix), n += prefix;
    if (inputs.len) memcpy(out + n, inputs.ptr, inputs.len), n += inputs.len;
    done(token, 0, (PinionBuf){out, n, n, release});
}

struct Late {
    void *token;
    PinionDone done;
};

static void *complete_later(void *arg) {
    struct Late late = *(struct Late *)arg;
    free(arg);
    usleep(20000);
    succeed((PinionSlice){NULL, 0}, late.token, late.done);
    return NULL;
}

static void answered_by_host(void *arg, uint32_t status, PinionBuf out) {
    struct Late late = *(struct Late *)arg;
    free(arg);
    if (out.release) out.release(out.ptr, out.len, out.cap);
    if (status) refuse(late.token, late.done, (uint8_t)status);
    else succeed((PinionSlice){NULL, 0}, late.token, late.done);
}

static int says(PinionSlice request, const char *word) {
    return memmem(request.ptr, request.len, word, strlen(word)) != NULL;
}

static void handle(PinionSlice request, void *token, PinionDone done) {
    PinionSlice inputs;
    if (!inputs_of(request, &inputs)) {
        refuse(token, done, 3);
        return;
    }
    struct Late *late = malloc(sizeof *late);
    *late = (struct Late){token, done};
    if (says(request, "wrong-bytes")) {
        done(token, 0, copy("\xff\xff\xff\xff", 4));
    } else if (says(request, "late-done")) {
        pthread_t thread;
        pthread_create(&thread, NULL, complete_later, late);
        pthread_detach(thread);
        return;
    } else if (says(request, "double-done")) {
        succeed(inputs, token, done);
        succeed(inputs, token, done);
    } else if (says(request, "host-call")) {
        /* BlobGetRequest{uri: "s3://b/k"} */
        const uint8_t get[] = "\x0a\x08s3://b/k";
        the_host->call(the_host->ctx, PINION_HOST_BLOB_GET, (PinionSlice){get, sizeof get - 1}, late, answered_by_host);
        return;
    } else if (says(request, "never-done")) {
        /* Keeps the host waiting. */
    } else {
        succeed(inputs, token, done);
    }
    free(late);
}

static int32_t create(const PinionHost *host, PinionSlice reserved, void **instance, PinionBuf *error) {
    (void)reserved;
    (void)error;
    the_host = host;
    *instance = &the_instance;
    return 0;
}

static void destroy(void *instance) {
    (void)instance;
}

static void call(void *instance, uint32_t method, uint64_t call_id, PinionSlice request, void *token, PinionDone done) {
    (void)instance;
    (void)call_id;
    switch (method) {
    case PINION_HANDLE:
        handle(request, token, done);
        break;
    case PINION_VALIDATE_CONFIG:
    case PINION_INIT:
    case PINION_ABORT:
    case PINION_FINALIZE:
    case PINION_DRAIN:
    case PINION_PING:
        done(token, 0, (PinionBuf){NULL, 0, 0, NULL});
        break;
    case PINION_MIGRATE_STATE:
        refuse(token, done, 9);
        break;
    default:
        refuse(token, done, 12);
    }
}

static void cancel(void *instance, uint64_t call_id) {
    (void)instance;
    (void)call_id;
}

const PinionPlugin pinion_plugin_v1 = {
    .magic = PINION_MAGIC,
    .size = sizeof(PinionPlugin),
    .abi_major = PINION_ABI_MAJOR,
    .abi_minor = PINION_ABI_MINOR,
    .flags = 0,
    .metadata_json = {(const uint8_t *)metadata, sizeof metadata - 1},
    .create = create,
    .destroy = destroy,
    .call = call,
    .cancel = cancel,
};
