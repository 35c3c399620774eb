/* SPDX-License-Identifier: Apache-2.0
 *
 * What tamis_model_create and tamis_model_load refuse, and the words they use.
 */
#include "tests/unit/runtime/artifact_by_hand.c"
#include "runtime/runtime_internal.h"

#include <elf.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static void refuses_fields(void **state) {
    (void)state;
    tamis_model *model;
    tamis_error error;
    tamis_artifact artifact = hand_artifact;
    artifact.magic = 1;
    assert_int_equal(tamis_model_create(&artifact, &model, &error), TM_HOST_ARTIFACT);
    assert_non_null(strstr(error.message, "magic"));
    assert_null(model);
    artifact = hand_artifact;
    artifact.abi_version = 99;
    assert_int_equal(tamis_model_create(&artifact, &model, &error), TM_HOST_ARTIFACT);
    assert_non_null(strstr(error.message, "abi_version\n    expected 6\n    found    99\n    hint: compile"));
    artifact = hand_artifact;
    artifact.struct_bytes--;
    assert_int_equal(tamis_model_create(&artifact, &model, &error), TM_HOST_ARTIFACT);
    assert_non_null(strstr(error.message, "struct_bytes"));
    assert_int_equal(tamis_model_create(NULL, &model, &error), TM_HOST_ARTIFACT);
    hand_level = -1;
    assert_int_equal(tamis_model_create(&hand_artifact, &model, &error), TM_HOST_CPU);
    hand_level = 0;
    assert_int_equal(tamis_model_create(&hand_artifact, &model, NULL), 0);
    assert_int_equal(tamis_model_find_input(model, "x"), 0);
    assert_int_equal(tamis_model_find_output(model, "big"), 1);
    assert_int_equal(tamis_model_find_output(model, "x"), -1);
    tamis_model_destroy(model);
    tamis_model_destroy(NULL);
}

/* Writes the bytes to a temporary file, loads it, and gives the code. */
static int load_bytes(const void *data, size_t bytes, tamis_error *error) {
    char path[] = "/tmp/tamis-load-XXXXXX";
    int descriptor = mkstemp(path);
    assert_true(descriptor >= 0);
    assert_int_equal(write(descriptor, data, bytes), (ssize_t)bytes);
    close(descriptor);
    tamis_model *model;
    int code = tamis_model_load(path, &model, error);
    unlink(path);
    assert_null(model);
    return code;
}

static void refuses_files(void **state) {
    (void)state;
    tamis_error error;
    tamis_model *model;
    assert_int_equal(tamis_model_load("/nowhere/m.so", &model, &error), TM_HOST_OPEN);
    assert_int_equal(load_bytes("\x08\x07 model", 8, &error), TM_HOST_ARTIFACT);
    assert_non_null(strstr(error.message, "file type"));
    Elf64_Ehdr header = {.e_type = ET_DYN, .e_machine = EM_PPC64};
    memcpy(header.e_ident, ELFMAG, SELFMAG);
    header.e_ident[EI_CLASS] = ELFCLASS32;
    header.e_ident[EI_DATA] = ELFDATA2LSB;
    assert_int_equal(load_bytes(&header, sizeof header, &error), TM_HOST_ARTIFACT);
    assert_non_null(strstr(error.message, "ELF class"));
    header.e_ident[EI_CLASS] = ELFCLASS64;
    assert_int_equal(load_bytes(&header, sizeof header, &error), TM_HOST_ARTIFACT);
    assert_non_null(strstr(error.message, "found    machine 21"));
    assert_int_equal(load_bytes(&header, 20, &error), TM_HOST_ARTIFACT);
#if defined(__x86_64__)
    header.e_machine = EM_X86_64;
    assert_int_equal(load_bytes(&header, sizeof header, &error), TM_HOST_ARTIFACT);
    assert_non_null(strstr(error.message, "loading"));
    header.e_shnum = 1;
    header.e_shentsize = sizeof(Elf64_Shdr);
    header.e_shoff = 1;
    assert_int_equal(load_bytes(&header, sizeof header, &error), TM_HOST_ARTIFACT);
    assert_non_null(strstr(error.message, "cut short"));
    header.e_shnum = 0;
    header.e_phnum = 1;
    header.e_phentsize = sizeof(Elf64_Phdr);
    header.e_phoff = sizeof header;
    struct {
        Elf64_Ehdr header;
        Elf64_Phdr segment;
    } file = {header, {.p_type = PT_LOAD, .p_offset = UINT64_MAX, .p_filesz = 2}};
    assert_int_equal(load_bytes(&file, sizeof file, &error), TM_HOST_ARTIFACT);
    assert_non_null(strstr(error.message, "cut short"));
    header.e_type = ET_REL;
    assert_int_equal(load_bytes(&header, sizeof header, &error), TM_HOST_ARTIFACT);
    assert_non_null(strstr(error.message, "relocatable object"));
#endif
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(refuses_fields), cmocka_unit_test(refuses_files)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
