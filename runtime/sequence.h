/* SPDX-License-Identifier: Apache-2.0
 *
 * sequence.h: values that are no tensors, while a model runs: nested lists.
 *
 *     sequence   its items
 *     optional   no item (data NULL) or one: a tensor, a sequence or a map
 *     map        two tensors with as many entries along axis 0: the keys [n], the values [n] (or [n, ...]
 * where the values of a map are no scalars), in any order
 *
 * A value of such a kind has data = tm_sequence*, in the run's arena, or NULL for an empty one. Lists never
 * change once made: SequenceInsert makes a new list of the same items, so lists share tensors freely and
 * nothing is counted. All of it goes away at the next execute().
 */
#ifndef TM_RUNTIME_SEQUENCE_H
#define TM_RUNTIME_SEQUENCE_H

#include "tamis/artifact.h"

typedef struct tm_sequence {
    int64_t count;
    tamis_tensor items[]; /* data and dims in the arena (or longer-lived) */
} tm_sequence;

#endif
