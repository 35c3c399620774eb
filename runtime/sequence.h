/* SPDX-License-Identifier: Apache-2.0
 *
 * sequence.h: sequences and optionals while a model runs.
 *
 * A value of kind SEQUENCE or OPTIONAL has data = tm_sequence*, in the run's arena, or NULL for an
 * empty one. Sequences never change once made: SequenceInsert makes a new list of the same items,
 * so lists share tensors freely and nothing is counted. All of it goes away at the next execute().
 */
#ifndef TM_RUNTIME_SEQUENCE_H
#define TM_RUNTIME_SEQUENCE_H

#include "tamis/artifact.h"

typedef struct tm_sequence {
    int64_t count;
    tamis_tensor items[]; /* data and dims in the arena (or longer-lived) */
} tm_sequence;

#endif
