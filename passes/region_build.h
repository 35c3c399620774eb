/* SPDX-License-Identifier: Apache-2.0
 *
 * region_build.h: turns a group of nodes into one Region node; which ops may stand in a region.
 */
#ifndef TM_PASSES_REGION_BUILD_H
#define TM_PASSES_REGION_BUILD_H

#include "passes/passes.h"

/* Has codegen/llvm/region_value.c an emitter for this node with these types? */
bool tm_region_can_hold(const tm_node *node);
/* Is every element of the value one constant, to be kept in the body? */
bool tm_region_is_scalar(const tm_value *value);
/* Does `operand` walk along each dim of `out` or repeat (dims right-aligned)? */
bool tm_region_broadcasts(const tm_value *operand, const tm_value *out);
bool tm_region_same_dims(const tm_value *a, const tm_value *b);

/* Is the node one of these? */
bool tm_region_is_among(tm_node *const *nodes, int count, const tm_node *node);
/* Has the value a reader that is none of the nodes, or is it an output of a graph? */
bool tm_region_is_read_outside(tm_node *const *nodes, int count, const tm_value *value);

/* Does the node make its region one of quantised values? */
bool tm_region_is_quantized(const tm_node *node);
/* Parameters of quantised values differ from layer to layer, and equal layers share their code: scales and
 * zero points are read, not written into it. Does the node read the single constant so, in a region of
 * quantised values or another one? */
bool tm_region_reads_number(const tm_node *node, const tm_value *number, bool quantized);

/* Appends to the nodes what may stand behind the last one in its region, each the only reader of the one
 * before: elementwise over the same dims, with operands that walk along all of the last leading dims or none
 * (codegen/llvm/contract.c). Returns the new count. */
int tm_region_epilogue(tm_node **nodes, int count, int capacity);

/* Calls form(context, node) on each candidate of the graph and of the bodies in it (regions' bodies
 * excepted), as long as rewrites are allowed; form returns the region that stands in the node's place. */
typedef tm_code (*tm_region_form)(tm_pass_context *context, tm_node *node, tm_node **out_region);
TM_MUST_USE tm_code tm_region_form_each(tm_pass_context *context, tm_graph *graph,
                                        bool (*is_candidate)(const tm_node *node), tm_region_form form);

/* A constant with the weights section's form (tm_constant.panel and what belongs to it) that is wanted: one
 * value for all regions that read it so. */
tm_value *tm_region_packed(tm_graph *graph, const char *name, const tm_constant *packed);
/* The constant matrix packed as tiles of that type when it is written (ir/tiles.h): one value for all
 * products by it. */
tm_value *tm_region_tile_weights(tm_graph *graph, const tm_value *weights, tamis_type stored);

/* Replaces nodes (in execution order) by a region with one output, that of the last node; the other nodes'
 * outputs have no use outside. The node stands where the last one stood. */
TM_MUST_USE tm_code tm_region_build(tm_model *model, const char *kind, tm_node *const *nodes, int count,
                                    tm_node **out_region);
/* The same with several outputs, made by the nodes; all others have no use outside. The region stands before
 * `before`: after what the nodes read, before what reads the outputs. */
TM_MUST_USE tm_code tm_region_build_outputs(tm_model *model, const char *kind, tm_node *const *nodes,
                                            int count, tm_value *const *outputs, int output_count,
                                            tm_node *before, tm_node **out_region);

#endif
