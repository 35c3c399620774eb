/* SPDX-License-Identifier: Apache-2.0
 *
 * A command that is stopped (Ctrl-C, `kill`, a reader of its output that went away) leaves nothing behind.
 *
 *     $TMPDIR/tamis-XXXXXX    all temporary folders, those of the library too, stand in this one
 *     NAME.PID.part           a file under way, beside the place where it will be
 *
 * So a handler of signals can find all by these names, and nobody has to tell it what is being made. It runs
 * in the main thread, which does nothing else then, stops the children (the linker, compilations apart, cases
 * of `check`), removes the files and lets the signal do what it does by itself: the caller sees how the
 * command ended. It calls only what signal handlers may: no allocation, no stdio.
 *
 * A child that was forked has the handler too; it stops its own children and leaves the files to the parent.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "tools/tool.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MOST_OUTPUTS = 16, MOST_TRIES = 100, MOST_DEPTH = 8 };

static const int stops[] = {SIGINT, SIGTERM, SIGHUP, SIGPIPE};
enum { STOP_COUNT = sizeof stops / sizeof *stops };

static struct {
    pid_t owner;
    char folder[PATH_MAX];                /* "": none yet */
    char outputs[MOST_OUTPUTS][PATH_MAX]; /* folders, the latest ones */
    size_t output_count;
    char partial[32]; /* ".PID.part" */
} state;

/* ---- in the handler ---- */

typedef bool (*wanted)(const char *name);

static bool is_any(const char *name) {
    return strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

static bool is_partial(const char *name) {
    return strstr(name, state.partial) != NULL;
}

static void remove_entries(int folder, wanted wanted, int depth) {
    _Alignas(struct dirent64) char entries[1024];
    for (ssize_t bytes; (bytes = getdents64(folder, entries, sizeof entries)) > 0;)
        for (ssize_t at = 0; at < bytes;) {
            const struct dirent64 *entry = (const struct dirent64 *)(const void *)(entries + at);
            at += entry->d_reclen;
            if (!wanted(entry->d_name) || unlinkat(folder, entry->d_name, 0) == 0 || depth == MOST_DEPTH)
                continue;
            int inner = openat(folder, entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
            if (inner < 0)
                continue;
            remove_entries(inner, is_any, depth + 1);
            close(inner);
            unlinkat(folder, entry->d_name, AT_REMOVEDIR);
        }
}

static void remove_from(const char *path, wanted wanted) {
    int folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0)
        return;
    remove_entries(folder, wanted, 0);
    close(folder);
}

/* One that ignores the signal is killed. */
static void wait_for(pid_t child) {
    const struct timespec pause = {0, 10 * 1000 * 1000};
    for (int tries = 0; tries < MOST_TRIES && waitpid(child, NULL, WNOHANG) == 0; tries++)
        nanosleep(&pause, NULL);
    if (kill(child, SIGKILL) == 0)
        while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
            ;
}

/* Ends the children of the main thread, as Linux lists them: "123 456 ". Where it does not, they are left. */
static void stop_children(int signal_number) {
    static const char path[] = "/proc/thread-self/children";
    char text[1024];
    int file = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t bytes = file >= 0 ? read(file, text, sizeof text) : 0;
    if (file >= 0)
        close(file);
    pid_t child = 0;
    for (ssize_t i = 0; i < bytes; i++) {
        if (text[i] >= '0' && text[i] <= '9') {
            child = child * 10 + (text[i] - '0');
            continue;
        }
        if (child > 0 && kill(child, signal_number == SIGPIPE ? SIGTERM : signal_number) == 0)
            wait_for(child);
        child = 0;
    }
}

static void on_stop(int signal_number) {
    if (syscall(SYS_gettid) != getpid()) { /* in another thread: the main one would go on making files */
        syscall(SYS_tgkill, getpid(), getpid(), signal_number);
        return;
    }
    stop_children(signal_number);
    if (state.owner == getpid()) {
        /* Other threads may still write into the folder; once it is gone, they cannot. */
        for (int tries = 0; state.folder[0] != 0 && tries < MOST_TRIES; tries++) {
            remove_from(state.folder, is_any);
            if (rmdir(state.folder) == 0 || errno == ENOENT)
                break;
        }
        for (size_t i = 0; i < state.output_count && i < MOST_OUTPUTS; i++)
            remove_from(state.outputs[i], is_partial);
    }
    sigset_t blocked;
    signal(signal_number, SIG_DFL);
    sigemptyset(&blocked);
    sigaddset(&blocked, signal_number);
    raise(signal_number);
    sigprocmask(SIG_UNBLOCK, &blocked, NULL);
}

/* ---- what it is to know ---- */

void tool_interrupt_init(void) {
    struct sigaction action = {.sa_handler = on_stop}, old;
    state.owner = getpid();
    snprintf(state.partial, sizeof state.partial, ".%d.part", (int)state.owner);
    sigemptyset(&action.sa_mask);
    for (int i = 0; i < STOP_COUNT; i++)
        sigaddset(&action.sa_mask, stops[i]);
    for (int i = 0; i < STOP_COUNT; i++) /* nohup's SIG_IGN stays */
        if (sigaction(stops[i], NULL, &old) == 0 && old.sa_handler == SIG_DFL)
            sigaction(stops[i], &action, NULL);
}

/* Signals wait meanwhile: a handler never sees half a name. */
static void note(char *to, const char *text, size_t size) {
    sigset_t all, before;
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, &before);
    if (size < PATH_MAX) {
        memcpy(to, text, size);
        to[size] = 0;
    }
    sigprocmask(SIG_SETMASK, &before, NULL);
}

void tool_interrupt_folder(const char *path) {
    note(state.folder, path, strlen(path));
}

void tool_interrupt_output(const char *path) {
    const char *slash = strrchr(path, '/');
    size_t size = slash == NULL || slash == path ? 1 : (size_t)(slash - path);
    const char *folder = slash == NULL ? "." : path;
    for (size_t i = 0; i < state.output_count && i < MOST_OUTPUTS; i++)
        if (strncmp(state.outputs[i], folder, size) == 0 && state.outputs[i][size] == 0)
            return;
    note(state.outputs[state.output_count % MOST_OUTPUTS], folder, size);
    state.output_count++;
}
