/* SPDX-License-Identifier: Apache-2.0
 *
 * emit_lines.c: line numbers for debuggers and profilers, with -g.
 *
 *     function "tm_region_3_contract MatMul /layer.0/MatMul_v4"    starts at the line of its first node
 *     fma ...    !dbg line 17: the node that it computes           (codegen/lines.h has the list)
 *
 * Emission says only which node comes next; every instruction then takes the builder's line. A location also
 * names the function that it lies in, but emission goes from one function to another and back. So the
 * functions get their records at the end, and each instruction there a location of its line in its own
 * function. Until then all locations lie in one function that stands for none. Code that is inlined later
 * (the vector math) has no lines and takes that of its call. Without -g nothing here leaves a trace in the
 * module.
 */
#include "codegen/llvm/emit.h"
#include "codegen/lines.h"
#include "tamis/compiler.h"

#include <llvm-c/DebugInfo.h>
#include <string.h>

/* Names of the file and of what made it; the file stands beside the artifact. */
static LLVMMetadataRef make_file(tm_emit *e) {
    const char *name = tm_arena_format(e->arena, "%s.nodes", e->options->name);
    return LLVMDIBuilderCreateFile(e->debug.builder, name, strlen(name), ".", 1);
}

static LLVMMetadataRef make_function(tm_emit *e, const char *name, unsigned line) {
    LLVMMetadataRef type =
        LLVMDIBuilderCreateSubroutineType(e->debug.builder, e->debug.file, NULL, 0, LLVMDIFlagZero);
    return LLVMDIBuilderCreateFunction(e->debug.builder, e->debug.file, name, strlen(name), "", 0,
                                       e->debug.file, line, type, 1, 1, line, LLVMDIFlagZero, 1);
}

static void add_flag(tm_emit *e, const char *name, uint64_t value) {
    LLVMAddModuleFlag(e->module, LLVMModuleFlagBehaviorWarning, name, strlen(name),
                      LLVMValueAsMetadata(LLVMConstInt(e->i32, value, 0)));
}

void tm_emit_lines_begin(tm_emit *e) {
    if (e->lines == NULL)
        return;
    static const char producer[] = "tamis " TAMIS_VERSION;
    add_flag(e, "Debug Info Version", LLVMDebugMetadataVersion());
    add_flag(e, "Dwarf Version", 4);
    e->debug.builder = LLVMCreateDIBuilder(e->module);
    e->debug.file = make_file(e);
    LLVMDIBuilderCreateCompileUnit(e->debug.builder, LLVMDWARFSourceLanguageC, e->debug.file, producer,
                                   sizeof producer - 1, 1, "", 0, 0, "", 0, LLVMDWARFEmissionFull, 0, 0, 0,
                                   "", 0, "", 0);
    e->debug.nowhere = make_function(e, "nowhere", 0);
    e->debug.line = 0;
}

unsigned tm_emit_line(tm_emit *e, const tm_node *node) {
    if (e->debug.builder == NULL)
        return 0;
    unsigned before = e->debug.line;
    tm_emit_line_number(e, tm_line_of(e->lines, node));
    return before;
}

void tm_emit_line_number(tm_emit *e, unsigned line) {
    if (e->debug.builder == NULL)
        return;
    e->debug.line = line;
    LLVMSetCurrentDebugLocation2(
        e->builder, LLVMDIBuilderCreateDebugLocation(e->context, line, 0, e->debug.nowhere, NULL));
}

static unsigned line_of(LLVMValueRef instruction) {
    LLVMMetadataRef location = LLVMInstructionGetDebugLoc(instruction);
    return location != NULL ? LLVMDILocationGetLine(location) : 0;
}

static unsigned first_line(LLVMValueRef function) {
    for (LLVMBasicBlockRef b = LLVMGetFirstBasicBlock(function); b != NULL; b = LLVMGetNextBasicBlock(b))
        for (LLVMValueRef i = LLVMGetFirstInstruction(b); i != NULL; i = LLVMGetNextInstruction(i))
            if (line_of(i) != 0)
                return line_of(i);
    return 0;
}

static void settle(tm_emit *e, LLVMValueRef function) {
    size_t length;
    const char *name = LLVMGetValueName2(function, &length);
    LLVMMetadataRef own = make_function(e, name, first_line(function));
    LLVMSetSubprogram(function, own);
    for (LLVMBasicBlockRef b = LLVMGetFirstBasicBlock(function); b != NULL; b = LLVMGetNextBasicBlock(b))
        for (LLVMValueRef i = LLVMGetFirstInstruction(b); i != NULL; i = LLVMGetNextInstruction(i))
            LLVMInstructionSetDebugLoc(
                i, LLVMDIBuilderCreateDebugLocation(e->context, line_of(i), 0, own, NULL));
}

void tm_emit_lines_end(tm_emit *e) {
    if (e->debug.builder == NULL)
        return;
    tm_emit_line_number(e, 0);
    for (LLVMValueRef f = LLVMGetFirstFunction(e->module); f != NULL; f = LLVMGetNextFunction(f))
        if (!LLVMIsDeclaration(f))
            settle(e, f);
    LLVMDIBuilderFinalize(e->debug.builder);
    e->debug.builder = NULL;
}
