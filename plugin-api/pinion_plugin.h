/* The C form of the plugin interface of Pinion: numbered methods and bytes.
 *
 * A plugin is a shared library that exports the table `pinion_plugin_v1` and carries its metadata as JSON in the ELF
 * section `.pinion_plugin` (the same text as `metadata_json`). What the methods and bytes mean is in
 * proto/pinion/plugin/v1/plugin.proto: requests and responses are protobuf messages of the package pinion.plugin.v1.
 *
 * Rules. Structs grow only at their end; read a field only if `size` covers it. Whoever makes a buffer frees it: an
 * owned PinionBuf carries its release function. Functions may be called from any thread and must not block for long,
 * unwind, exit or install signal handlers. An unknown method is answered with status 12 (UNIMPLEMENTED).
 *
 * This file is written by hand; plugin-api/abi/src/c.rs is the same in Rust, and a test compiles both against each other.
 */
#ifndef PINION_PLUGIN_H
#define PINION_PLUGIN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#define PINION_STATIC_ASSERT(condition, text) static_assert(condition, text)
#else
#define PINION_STATIC_ASSERT(condition, text) _Static_assert(condition, text)
#endif

#define PINION_MAGIC UINT64_C(0x50494E494F4E5631) /* "PINIONV1" */
#define PINION_ABI_MAJOR 1u
#define PINION_ABI_MINOR 0u

/* PinionPlugin.flags: a panic or uncaught exception ends the process; the host then uses a process of its own. */
#define PINION_FLAG_ABORTS 1u

/* PluginMethod */
#define PINION_VALIDATE_CONFIG 1u
#define PINION_INIT 2u
#define PINION_HANDLE 3u
#define PINION_ABORT 4u
#define PINION_FINALIZE 5u
#define PINION_MIGRATE_STATE 6u
#define PINION_DRAIN 7u
#define PINION_PING 8u

/* HostMethod */
#define PINION_HOST_BLOB_GET 1u
#define PINION_HOST_BLOB_PUT 2u
#define PINION_HOST_BLOB_HEAD 3u
#define PINION_HOST_BLOB_LIST 4u
#define PINION_HOST_INPUTS_GET 5u
#define PINION_HOST_SECRET_GET 6u
#define PINION_HOST_TOKEN_ALLOCATE 7u
#define PINION_HOST_TOKEN_RELEASE 8u
#define PINION_HOST_OBJECT_APPLY 9u
#define PINION_HOST_OBJECT_GET 10u
#define PINION_HOST_OBJECT_DELETE 11u
#define PINION_HOST_HTTP 12u
#define PINION_HOST_WAKE 13u
#define PINION_HOST_RATE_ACQUIRE 14u

/* EmitKind */
#define PINION_EMIT_LOG 1u
#define PINION_EMIT_METRIC 2u
#define PINION_EMIT_EVENT 3u

/* Borrowed bytes. */
typedef struct PinionSlice {
    const uint8_t *ptr;
    size_t len;
} PinionSlice;

/* Owned bytes; the receiver calls `release`, if it is not null, exactly once. */
typedef struct PinionBuf {
    uint8_t *ptr;
    size_t len;
    size_t cap;
    void (*release)(uint8_t *ptr, size_t len, size_t cap);
} PinionBuf;

/* Completion of a call. `status` 0: `out` is the response. Otherwise `status` is a gRPC code and `out` an encoded Status. */
typedef void (*PinionDone)(void *token, uint32_t status, PinionBuf out);

/* The host. Lives as long as the process. */
typedef struct PinionHost {
    uint32_t size;
    uint32_t abi_major;
    void *ctx;
    /* Whether records of this LogLevel are wanted. */
    uint32_t (*enabled)(void *ctx, uint32_t level);
    /* Hands over an encoded record of an EmitKind; never blocks. */
    void (*emit)(void *ctx, uint32_t kind, PinionSlice payload);
    /* Calls a HostMethod. The request is copied; `done` comes exactly once, on any thread. */
    void (*call)(void *ctx, uint32_t method, PinionSlice request, void *token, PinionDone done);
} PinionHost;

/* The plugin. */
typedef struct PinionPlugin {
    uint64_t magic;
    uint32_t size;
    uint32_t abi_major;
    uint32_t abi_minor;
    uint32_t flags;
    PinionSlice metadata_json;
    /* Creates an instance. Returns 0, or a gRPC code with an encoded Status in `error`. */
    int32_t (*create)(const PinionHost *host, PinionSlice reserved, void **instance, PinionBuf *error);
    /* Ends an instance; no call is pending and none follows. */
    void (*destroy)(void *instance);
    /* Calls a PluginMethod. `request` is borrowed until this returns. Call `done` exactly once, on any thread, perhaps
     * before this returns. */
    void (*call)(void *instance, uint32_t method, uint64_t call_id, PinionSlice request, void *token, PinionDone done);
    /* The host no longer waits for this call; call `done` all the same, with any status. */
    void (*cancel)(void *instance, uint64_t call_id);
} PinionPlugin;

/* What every plugin exports. */
extern const PinionPlugin pinion_plugin_v1;

PINION_STATIC_ASSERT(sizeof(void *) == 8, "only 64-bit systems");
PINION_STATIC_ASSERT(sizeof(PinionSlice) == 16, "PinionSlice");
PINION_STATIC_ASSERT(sizeof(PinionBuf) == 32, "PinionBuf");
PINION_STATIC_ASSERT(offsetof(PinionHost, ctx) == 8, "PinionHost.ctx");
PINION_STATIC_ASSERT(offsetof(PinionHost, call) == 32, "PinionHost.call");
PINION_STATIC_ASSERT(sizeof(PinionHost) == 40, "PinionHost");
PINION_STATIC_ASSERT(offsetof(PinionPlugin, metadata_json) == 24, "PinionPlugin.metadata_json");
PINION_STATIC_ASSERT(offsetof(PinionPlugin, create) == 40, "PinionPlugin.create");
PINION_STATIC_ASSERT(offsetof(PinionPlugin, cancel) == 64, "PinionPlugin.cancel");
PINION_STATIC_ASSERT(sizeof(PinionPlugin) == 72, "PinionPlugin");

#ifdef __cplusplus
}
#endif

#endif
