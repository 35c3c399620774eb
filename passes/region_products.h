/* SPDX-License-Identifier: Apache-2.0
 *
 * region_products.h: products of one left side that are done together, in one region.
 *
 * The queries, keys and values of attention read the same rows, and are worth a third of a region's start and
 * of its units each. Chains of a product and what follows it are alike when they differ in constants alone,
 * whose pointers the generated code selects (codegen/llvm/contract.h).
 */
#ifndef TM_PASSES_REGION_PRODUCTS_H
#define TM_PASSES_REGION_PRODUCTS_H

#include "passes/region_build.h"

#define TM_CHAIN_NODES 24
#define TM_CHAINS 4 /* TM_MOST_PRODUCTS of codegen/llvm/contract.h */

/* The product and what follows it, in order. */
typedef struct tm_chain {
    tm_node *nodes[TM_CHAIN_NODES];
    int count;
} tm_chain;

/* Are the chains the same but for constants and inputs of the model? Compared with itself: may it be done
 * with others at all? */
bool tm_chains_are_alike(const tm_chain *a, const tm_chain *b);
/* Outputs of products that are done together live from the first one on, so those that are read much later
 * are left alone. */
bool tm_chain_is_near(const tm_node *from, const tm_node *node);
/* One region with an output for each chain; the first chain's product stands before the other products. */
TM_MUST_USE tm_code tm_chains_build(tm_model *model, const char *kind, const tm_chain *chains, int count,
                                    tm_node **out_region);

#endif
