/* SPDX-License-Identifier: Apache-2.0
 *
 * samples.h: calibration samples from files, one at a time.
 */
#ifndef TM_TOOLS_SAMPLES_H
#define TM_TOOLS_SAMPLES_H

#include "quantize/quantize.h"
#include "tools/tool.h"

/* A source over what --calib names, for a model with these inputs:
 *
 *     x.npy               samples along the first axis, for a model with one input
 *     samples.npz         the same with an array for each input, named as the inputs
 *     folder              with NAME.npy for each input: the same; with input_N.pb or NAME.pb: one sample
 *     folder of those     .npy and .npz files or folders, in the order of their names
 */
TM_MUST_USE tm_code tool_samples_open(tool *tool, const char *path, const tool_port *ports, int count,
                                      tm_samples *out_samples);

#endif
