/* SPDX-License-Identifier: Apache-2.0
 *
 * export.h: a tm_model written as an ONNX file. docs/export.md is for users.
 */
#ifndef TM_FRONTEND_EXPORT_H
#define TM_FRONTEND_EXPORT_H

#include "ir/graph.h"

typedef struct tm_export_options {
    bool external_data; /* weights in a file of their own, OUTPUT.data */
    /* a model file that would be larger gets one too; 2 GiB - 1, what protobuf can read */
    int64_t inline_bytes;
} tm_export_options;

void tm_export_options_init(tm_export_options *options);

/* Writes the model to `path`, a regular file, whole or not at all. Types must be inferred (tm_infer). Values
 * keep their names, dims that are an input's symbol its name; elements are streamed from where they stand.
 * The opset is the lowest, from 21 on, that has all forms of the model. E_UNSUPPORTED_FORM for each node that
 * only tamis has (Region and the like). The model is not changed. */
TM_MUST_USE tm_code tm_export_model(const tm_model *model, const tm_export_options *options,
                                    const char *path);

#endif
