/* SPDX-License-Identifier: Apache-2.0
 *
 * ml_svm.c: SVMRegressor and SVMClassifier.
 *
 * A regressor's answer is sum_j coefficient_j K(x, support_j) + rho, or, without support vectors, x w + rho.
 * A classifier with support vectors decides between each pair of classes i < j by
 *
 *     d_ij = sum over supports s of i: coefficient[j - 1][s] K(x, s)
 *          + sum over supports s of j: coefficient[i][s] K(x, s) + rho_ij        d_ij > 0: a vote for i
 *
 * With prob_a and prob_b, d_ij becomes the probability r_ij = 1/(1 + e^(a d + b)), and the classes'
 * probabilities are the fixed point of the pairwise coupling of Wu, Lin and Weng (2004).
 */
#include "runtime/ops/ml_common.h"

enum { KERNEL_LINEAR, KERNEL_POLY, KERNEL_RBF, KERNEL_SIGMOID };

typedef struct svm {
    const double *coefficients, *supports, *rho;
    int64_t coefficient_count, support_count, rho_count; /* support vectors: rows of `features` */
    double gamma, coef0, degree;
    int kernel;
    tm_rows rows;
} svm;

static svm svm_of(const tm_run *run, const tm_call *call, tm_list coefficients, tm_list parameters,
                  tm_list type, tm_list rho, tm_list supports) {
    const void *a = tm_attributes(call);
    svm model = {.coefficients = tm_floats(a, coefficients),
                 .supports = tm_floats(a, supports),
                 .rho = tm_floats(a, rho),
                 .coefficient_count = tm_has(coefficients) ? coefficients.count : 0,
                 .rho_count = tm_has(rho) ? rho.count : 0,
                 .rows = tm_rows_of(tm_in(run, call, 0))};
    model.support_count =
        tm_has(supports) && model.rows.features > 0 ? supports.count / model.rows.features : 0;
    if (tm_has(parameters) && parameters.count >= 3) {
        const double *p = tm_floats(a, parameters);
        model.gamma = p[0];
        model.coef0 = p[1];
        model.degree = p[2];
    }
    model.kernel = tm_is(a, type, "POLY")      ? KERNEL_POLY
                   : tm_is(a, type, "RBF")     ? KERNEL_RBF
                   : tm_is(a, type, "SIGMOID") ? KERNEL_SIGMOID
                                               : KERNEL_LINEAR;
    return model;
}

/* K of a row and a vector */
static double kernel(const svm *model, int64_t row, const double *vector) {
    double sum = 0;
    for (int64_t c = 0; c < model->rows.features; c++) {
        double x = tm_real_get(model->rows.x, row * model->rows.features + c);
        sum += model->kernel == KERNEL_RBF ? (x - vector[c]) * (x - vector[c]) : x * vector[c];
    }
    switch (model->kernel) {
    case KERNEL_POLY:
        return tm_pow_f64(model->gamma * sum + model->coef0, model->degree);
    case KERNEL_RBF:
        return tm_exp_f64(-model->gamma * sum);
    case KERNEL_SIGMOID:
        return tm_tanh_f64(model->gamma * sum + model->coef0);
    default:
        return sum;
    }
}

int32_t tm_k_ml_SVMRegressor(tm_run *run, const tm_call *call) {
    const tm_attrs_SVMRegressor *a = tm_attributes(call);
    svm model =
        svm_of(run, call, a->coefficients, a->kernel_params, a->kernel_type, a->rho, a->support_vectors);
    tm_post_transform transform = tm_post_transform_of(a, a->post_transform);
    bool linear = a->n_supports == 0;
    int64_t wanted = linear ? model.rows.features : a->n_supports;
    if (model.coefficient_count < wanted || (!linear && model.support_count < a->n_supports) ||
        model.rho_count < 1)
        return tm_fail(run, call, TM_RUN_LIST_LENGTH, model.coefficient_count, wanted);
    if (linear)
        model.kernel = KERNEL_LINEAR;
    for (int64_t row = 0; row < model.rows.count; row++) {
        double sum = linear ? kernel(&model, row, model.coefficients) : 0;
        for (int64_t j = 0; j < a->n_supports; j++)
            sum += model.coefficients[j] * kernel(&model, row, model.supports + j * model.rows.features);
        sum += model.rho[0];
        if (a->one_class != 0)
            sum = sum > 0 ? 1 : -1;
        else
            tm_post_transform_apply(&sum, 1, transform);
        tm_set_f32(tm_out(run, call, 0)->data, row, (float)sum);
    }
    return 0;
}

/* ---- classifier ---- */

typedef struct machine {
    svm svm;
    int64_t classes, pairs;
    const int64_t *per_class;
    const double *prob_a, *prob_b; /* NULL: no probabilities */
    double *kernels;               /* K of the row and each support vector */
    double *decisions;             /* of pairs */
    double *chances;               /* classes * classes */
    double *scores;                /* of classes, or of pairs */
    int64_t *votes;
} machine;

static void decide(machine *m, int64_t row) {
    int64_t features = m->svm.rows.features, supports = m->svm.support_count;
    for (int64_t s = 0; s < supports; s++)
        m->kernels[s] = kernel(&m->svm, row, m->svm.supports + s * features);
    for (int64_t k = 0; k < m->classes; k++)
        m->votes[k] = 0;
    int64_t pair = 0, first_i = 0;
    for (int64_t i = 0; i < m->classes; i++) {
        int64_t first_j = first_i + m->per_class[i];
        for (int64_t j = i + 1; j < m->classes; j++) {
            double sum = 0;
            for (int64_t s = 0; s < m->per_class[i]; s++)
                sum += m->svm.coefficients[(j - 1) * supports + first_i + s] * m->kernels[first_i + s];
            for (int64_t s = 0; s < m->per_class[j]; s++)
                sum += m->svm.coefficients[i * supports + first_j + s] * m->kernels[first_j + s];
            sum += m->svm.rho[pair];
            m->decisions[pair++] = sum;
            m->votes[sum > 0 ? i : j]++;
            first_j += m->per_class[j];
        }
        first_i += m->per_class[i];
    }
}

/* (Q p)[i] with Q[i][i] = sum over j of r_ji^2 and Q[i][j] = -r_ji r_ij */
static double couple_row(const double *chances, int64_t k, const double *p, int64_t i) {
    double row = 0;
    for (int64_t j = 0; j < k; j++)
        if (j != i)
            row += chances[j * k + i] * (chances[j * k + i] * p[i] - chances[i * k + j] * p[j]);
    return row;
}

static double couple_form(const double *chances, int64_t k, const double *p) {
    double sum = 0;
    for (int64_t i = 0; i < k; i++)
        sum += p[i] * couple_row(chances, k, p, i);
    return sum;
}

/* The classes' probabilities from those of the pairs: Q p = (p Q p) e, one class after the other. */
static void couple(const double *chances, int64_t k, double *p) {
    for (int64_t i = 0; i < k; i++)
        p[i] = 1.0 / (double)k;
    for (int step = 0; step < 100; step++) {
        double largest = 0, form = couple_form(chances, k, p);
        for (int64_t t = 0; t < k; t++)
            largest = tm_max_f64(largest, tm_abs_f64(couple_row(chances, k, p, t) - form));
        if (largest < 0.005 / (double)k)
            break;
        for (int64_t t = 0; t < k; t++) {
            double diagonal = 0;
            for (int64_t j = 0; j < k; j++)
                diagonal += j != t ? chances[j * k + t] * chances[j * k + t] : 0.0;
            double step_t = (couple_form(chances, k, p) - couple_row(chances, k, p, t)) / diagonal;
            p[t] += step_t;
            for (int64_t j = 0; j < k; j++)
                p[j] /= 1.0 + step_t;
        }
    }
}

static void set_probabilities(machine *m) {
    int64_t pair = 0, k = m->classes;
    for (int64_t i = 0; i < k; i++)
        for (int64_t j = i + 1; j < k; j++, pair++) {
            double r = tm_sigmoid_f64(-(m->decisions[pair] * m->prob_a[pair] + m->prob_b[pair]));
            r = tm_clamp_f64(r, 1e-7, 1 - 1e-7);
            m->chances[i * k + j] = r;
            m->chances[j * k + i] = 1 - r;
        }
    couple(m->chances, k, m->scores);
}

static int64_t largest_of(const double *values, int64_t count) {
    int64_t best = 0;
    for (int64_t i = 1; i < count; i++)
        best = values[i] > values[best] ? i : best;
    return best;
}

static int64_t most_votes(const machine *m) {
    int64_t best = 0;
    for (int64_t i = 1; i < m->classes; i++)
        best = m->votes[i] > m->votes[best] ? i : best;
    return best;
}

/* Scores and label of a row by support vectors. */
static int64_t classify(machine *m, int64_t row, int64_t columns, tm_post_transform transform) {
    decide(m, row);
    if (m->prob_a != NULL) {
        set_probabilities(m);
        tm_post_transform_apply(m->scores, columns, transform);
        return most_votes(m);
    }
    if (m->classes == 2) {
        bool softmax = transform == TM_POST_SOFTMAX || transform == TM_POST_SOFTMAX_ZERO;
        tm_post_transform_pair(m->decisions[0], softmax, transform, m->scores);
        return most_votes(m);
    }
    for (int64_t i = 0; i < columns; i++)
        m->scores[i] = m->decisions[i];
    tm_post_transform_apply(m->scores, columns, transform);
    return most_votes(m);
}

/* Without support vectors: one row of coefficients for each class. */
static int64_t classify_linear(machine *m, int64_t row, int64_t columns, tm_post_transform transform) {
    m->svm.kernel = KERNEL_LINEAR;
    for (int64_t k = 0; k < m->classes; k++)
        m->scores[k] = kernel(&m->svm, row, m->svm.coefficients + k * m->svm.rows.features) + m->svm.rho[0];
    int64_t best = largest_of(m->scores, m->classes);
    tm_post_transform_apply(m->scores, columns, transform);
    return best;
}

static bool fits(const machine *m, bool linear) {
    if (linear)
        return m->svm.coefficient_count == m->classes * m->svm.rows.features && m->svm.rho_count > 0;
    int64_t sum = 0;
    for (int64_t i = 0; i < m->classes; i++) {
        if (m->per_class[i] < 0 || m->per_class[i] > m->svm.support_count)
            return false;
        sum += m->per_class[i];
    }
    return sum == m->svm.support_count && m->svm.coefficient_count >= (m->classes - 1) * sum &&
           m->svm.rho_count >= m->pairs;
}

int32_t tm_k_ml_SVMClassifier(tm_run *run, const tm_call *call) {
    const tm_attrs_SVMClassifier *a = tm_attributes(call);
    tm_post_transform transform = tm_post_transform_of(a, a->post_transform);
    const tamis_tensor *labels = tm_out(run, call, 0), *y = tm_out(run, call, 1);
    machine m = {0};
    m.svm = svm_of(run, call, a->coefficients, a->kernel_params, a->kernel_type, a->rho, a->support_vectors);
    m.classes = tm_has(a->classlabels_ints) ? a->classlabels_ints.count : a->classlabels_strings.count;
    m.pairs = m.classes * (m.classes - 1) / 2;
    m.per_class = tm_ints(a, a->vectors_per_class);
    bool linear = !tm_has(a->vectors_per_class) || a->vectors_per_class.count == 0;
    bool chances = tm_has(a->prob_a) && a->prob_a.count > 0;
    bool enough = !chances || (a->prob_a.count >= m.pairs && tm_has(a->prob_b) && a->prob_b.count >= m.pairs);
    if (!enough || (!linear && a->vectors_per_class.count < m.classes) || !fits(&m, linear))
        return tm_fail(run, call, TM_RUN_LIST_LENGTH, m.svm.coefficient_count, m.svm.support_count);
    if (chances) {
        m.prob_a = tm_floats(a, a->prob_a);
        m.prob_b = tm_floats(a, a->prob_b);
    }
    int64_t bytes = 8 * (m.svm.support_count + 2 * m.pairs + m.classes * m.classes + 2 * m.classes + 2);
    m.kernels = tm_scratch(run, call, bytes);
    if (m.kernels == NULL)
        return TM_RUN_MEMORY;
    m.decisions = m.kernels + m.svm.support_count;
    m.chances = m.decisions + m.pairs;
    m.scores = m.chances + m.classes * m.classes;
    m.votes = (int64_t *)(m.scores + m.pairs + m.classes + 2);
    int64_t columns = y->dims[1];
    for (int64_t row = 0; row < m.svm.rows.count; row++) {
        int64_t best =
            linear ? classify_linear(&m, row, columns, transform) : classify(&m, row, columns, transform);
        tm_set_label(labels, row, a, a->classlabels_ints, a->classlabels_strings, best);
        for (int64_t k = 0; k < columns; k++)
            tm_set_f32(y->data, row * columns + k, (float)m.scores[k]);
    }
    tm_unscratch(run, m.kernels, bytes);
    return 0;
}
