/* SPDX-License-Identifier: Apache-2.0
 *
 * Runs check cases in child processes, some at a time: a case that crashes, hangs or eats memory is then one
 * line of the report, not the end of the run. A child writes everything (diagnostics of libraries
 * too) into a pipe; its answer is the line that starts with \001. The parent polls the pipes, kills what
 * exceeds the time, and reports the cases in their order, whichever ends first.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "tools/check.h"
#include "tools/profile.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAX_JOBS 64

typedef struct slot {
    pid_t child; /* 0: free */
    int pipe;
    size_t number;
    double started;
    bool timed_out;
    tm_text output;
} slot;

static tm_code start(tool *tool, slot *slot, const check_case *item, size_t number,
                     const check_options *options) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0)
        return tool_report(tool, TM_E_IO, NULL, NULL, "cannot make a pipe: %s", strerror(errno));
    fflush(stdout);
    fflush(stderr);
    pid_t child = fork();
    if (child < 0) {
        close(ends[0]);
        close(ends[1]);
        return tool_report(tool, TM_E_IO, NULL, NULL, "cannot start a process: %s", strerror(errno));
    }
    if (child == 0) {
        setpgid(0, 0); /* so that a kill reaches the linker too */
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(ends[1], STDOUT_FILENO);
        dup2(ends[1], STDERR_FILENO);
        if (setjmp(tool->arena.recovery) == 0) {
            check_run_case(tool, item, options);
            tm_arena_deinit(&tool->arena); /* removes temporary folders */
        } else {
            printf("\n\001FAIL\tout of memory\n");
        }
        fflush(stdout);
        _exit(0);
    }
    close(ends[1]);
    *slot = (struct slot){.child = child, .pipe = ends[0], .number = number, .started = tool_profile_now()};
    tm_text_init(&slot->output, &tool->arena);
    return TM_OK;
}

static const char *last_line(tool *tool, const char *text) {
    size_t size = strlen(text);
    while (size > 0 && text[size - 1] == '\n')
        size--;
    size_t at = size;
    while (at > 0 && text[at - 1] != '\n')
        at--;
    return tm_arena_string_n(&tool->arena, text + at, size - at < 300 ? size - at : 300);
}

static void read_answer(tool *tool, const slot *slot, int status, const check_options *options,
                        check_case *out) {
    const char *text = tm_text_get(&slot->output);
    const char *line = strchr(text, '\001');
    out->seconds = tool_profile_now() - slot->started;
    out->status = CHECK_CRASH;
    if (slot->timed_out) {
        out->detail = tm_arena_format(&tool->arena, "no answer in %lld s", (long long)options->timeout);
    } else if (WIFSIGNALED(status)) {
        out->detail =
            tm_arena_format(&tool->arena, "signal %s %s", strsignal(WTERMSIG(status)), last_line(tool, text));
    } else if (line == NULL) {
        out->detail = tm_arena_format(&tool->arena, "no answer, exit code %d %s", WEXITSTATUS(status),
                                      last_line(tool, text));
    } else {
        for (int s = 0; s < CHECK_STATUS_COUNT; s++) {
            size_t size = strlen(check_status_text((check_status)s));
            if (strncmp(line + 1, check_status_text((check_status)s), size) == 0)
                out->status = (check_status)s;
        }
        const char *tab = strchr(line, '\t');
        const char *detail = tab != NULL ? tab + 1 : "";
        out->detail = tm_arena_string_n(&tool->arena, detail, strcspn(detail, "\n"));
    }
}

/* Reads what there is; true when the child has closed its end. */
static bool drain(slot *slot) {
    char buffer[4096];
    ssize_t got = read(slot->pipe, buffer, sizeof buffer);
    if (got > 0 && slot->output.size < 1 << 20)
        tm_text_add_bytes(&slot->output, buffer, (size_t)got);
    return got == 0 || (got < 0 && errno != EINTR && errno != EAGAIN);
}

static void stop_overdue(slot *slots, size_t count, const check_options *options) {
    for (size_t i = 0; i < count; i++)
        if (slots[i].child != 0 && !slots[i].timed_out &&
            tool_profile_now() - slots[i].started > (double)options->timeout) {
            slots[i].timed_out = true;
            kill(-slots[i].child, SIGKILL);
            kill(slots[i].child, SIGKILL);
        }
}

/* Waits until something happens in one of the slots, and takes the answers of those that ended. */
static void wait_for_children(tool *tool, slot *slots, size_t count, check_case *cases, bool *done,
                              const check_options *options) {
    struct pollfd polls[MAX_JOBS];
    for (size_t i = 0; i < count; i++)
        polls[i] = (struct pollfd){.fd = slots[i].child != 0 ? slots[i].pipe : -1, .events = POLLIN};
    poll(polls, (nfds_t)count, 200);
    stop_overdue(slots, count, options);
    for (size_t i = 0; i < count; i++) {
        if (slots[i].child == 0 || polls[i].revents == 0 || !drain(&slots[i]))
            continue;
        int status = 0;
        while (waitpid(slots[i].child, &status, 0) < 0 && errno == EINTR)
            ;
        close(slots[i].pipe);
        read_answer(tool, &slots[i], status, options, &cases[slots[i].number]);
        done[slots[i].number] = true;
        slots[i].child = 0;
    }
}

tm_code check_run_all(tool *tool, check_case *cases, size_t count, const check_options *options,
                      check_report report, void *context) {
    static slot slots[MAX_JOBS];
    size_t jobs = options->jobs < MAX_JOBS ? (size_t)options->jobs : MAX_JOBS;
    bool *done = TM_NEW_ARRAY(&tool->arena, bool, count + 1);
    size_t started = 0, reported = 0;
    TM_TRY(tool_temporaries(tool)); /* what killed children leave stands there */
    while (reported < count) {
        for (size_t i = 0; i < jobs && started < count; i++) {
            if (slots[i].child != 0)
                continue;
            TM_TRY(start(tool, &slots[i], &cases[started], started, options));
            started++;
        }
        wait_for_children(tool, slots, jobs, cases, done, options);
        while (reported < count && done[reported])
            report(context, &cases[reported++]);
    }
    return TM_OK;
}
