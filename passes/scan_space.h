/* SPDX-License-Identifier: Apache-2.0
 *
 * scan_space.h: the iteration space of a Scan whose step is elementwise: what form_scan_regions looks for and
 * what the code generator walks.
 */
#ifndef TM_PASSES_SCAN_SPACE_H
#define TM_PASSES_SCAN_SPACE_H

#include "ir/graph.h"

/* Axis of the space that an axis of a value walks along, or one of these. */
#define TM_SCAN_REPEATS (-1) /* has one element */
#define TM_SCAN_TIME (-2)    /* the axis that is scanned */

typedef struct tm_scan_space {
    const tm_node *scan;
    tm_graph *step;
    int inputs, states; /* of the Scan: scan inputs; states */
    int rank;           /* of the space, at least 1 */
    tm_dim dims[TAMIS_MAX_RANK];
    bool reduces; /* the step needs whole rows: it reduces the last axis, or keeps results of that */
    int8_t (*axes)[TAMIS_MAX_RANK]; /* by value id, for the values of the step and what it captures */
} tm_scan_space;

/* Longest row that stays in registers, in elements. */
#define TM_SCAN_ROW 128

/* false: the step is no plain recurrence. */
bool tm_scan_space_find(const tm_node *scan, tm_scan_space *out);
/* Axes of operand or output `value` of the Scan,
 * given those of its slice and the place of the scanned axis. */
void tm_scan_whole_axes(const int8_t *slice_axes, int rank, int time_axis, int8_t *out_axes);
/* Is the node one that sums, averages or takes the largest or smallest along one axis? Which one. */
bool tm_scan_reduced_axis(const tm_node *node, int *out_axis);

/* Is the node a view that inserts or drops axes of one element only? */
bool tm_scan_is_view(const tm_node *node);

#endif
