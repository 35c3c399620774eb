/* SPDX-License-Identifier: Apache-2.0
 *
 * polynomials.h: the coefficients of tamis's mathematical functions, in one place for scalar code, vector
 * code and generated code. TM_POLY_NAME(F, x) is the polynomial in x in the floating type F (a
 * scalar or a vector type), by Horner's scheme with TM_MATH_FMA.
 *
 * Each is a weighted minimax fit of the function in its comment, such that the error of the final
 * result is even over the range; its coefficients are rounded to the type one after the other, the
 * lowest first, and the rest fitted again, so that rounding them costs nothing. The degrees are the
 * smallest with an error well below half a unit in the last place.
 */
#ifndef TM_MATH_POLYNOMIALS_H
#define TM_MATH_POLYNOMIALS_H

/* (e^x - 1 - x) / x^2 for |x| <= ln(2)/2 */
#define TM_POLY_EXP_F32(F, x) \
    TM_MATH_FMA(TM_MATH_FMA(TM_MATH_FMA(TM_MATH_FMA( \
        (F)(0x1.6d5d1ap-10f), x, (F)(0x1.1233b6p-7f)), x, (F)(0x1.5554dap-5f)), x, \
        (F)(0x1.55549cp-3f)), x, (F)(0x1p-1f))

/* factor (2^x - 1) / x for |x| <= 1/2; the factor is a power of two */
#define TM_POLY_EXP2_F32(F, x, factor)                                                                       \
    TM_MATH_FMA(                                                                                             \
        TM_MATH_FMA(TM_MATH_FMA(TM_MATH_FMA((F)(0x1.5bba14p-10f * factor), x, (F)(0x1.3cea88p-7f * factor)), \
                                x, (F)(0x1.c6b752p-5f * factor)),                                            \
                    x, (F)(0x1.ebf9bcp-3f * factor)),                                                        \
        x, (F)(0x1.62e42ap-1f * factor))

/* (log(1 + x) - x + x^2/2) / x^3 for sqrt(1/2) <= 1 + x <= sqrt(2) */
#define TM_POLY_LOG_F32(F, x) \
    TM_MATH_FMA(TM_MATH_FMA(TM_MATH_FMA(TM_MATH_FMA(TM_MATH_FMA(TM_MATH_FMA(TM_MATH_FMA(TM_MATH_FMA( \
        (F)(0x1.1c1204p-4f), x, (F)(-0x1.e14188p-4f)), x, (F)(0x1.e5007ep-4f)), x, \
        (F)(-0x1.fb7cbcp-4f)), x, (F)(0x1.23502cp-3f)), x, (F)(-0x1.5561f8p-3f)), x, \
        (F)(0x1.99a38cp-3f)), x, (F)(-0x1.ffffeep-3f)), x, (F)(0x1.55554ap-2f))

/* (sin(x)/x - 1) / x^2 in x^2, |x| <= pi/4 */
#define TM_POLY_SIN_F32(F, x) \
    TM_MATH_FMA(TM_MATH_FMA(TM_MATH_FMA( \
        (F)(0x1.78ee8p-19f), x, (F)(-0x1.a04c92p-13f)), x, (F)(0x1.111168p-7f)), x, \
        (F)(-0x1.555556p-3f))

/* (cos(x) - 1 + x^2/2) / x^4 in x^2, |x| <= pi/4 */
#define TM_POLY_COS_F32(F, x) \
    TM_MATH_FMA(TM_MATH_FMA( \
        (F)(0x1.9a2d7ep-16f), x, (F)(-0x1.6c0d38p-10f)), x, (F)(0x1.55554cp-5f))

/* erf(x)/x - 1 in x^2, |x| <= 1 */
#define TM_POLY_ERF_F32(F, x) \
    TM_MATH_FMA(TM_MATH_FMA(TM_MATH_FMA(TM_MATH_FMA(TM_MATH_FMA(TM_MATH_FMA( \
        (F)(0x1.4c5cb4p-14f), x, (F)(-0x1.a5197ap-11f)), x, (F)(0x1.542fecp-8f)), x, \
        (F)(-0x1.b7fec4p-6f)), x, (F)(0x1.ce2d52p-4f)), x, (F)(-0x1.81274p-2f)), x, (F)(0x1.06eba8p-3f))

/* -log(1 - erf(x)) for 1 <= x <= 4 */
#define TM_POLY_ERFC_LOG_F32(F, x) \
    TM_MATH_FMA(TM_MATH_FMA(TM_MATH_FMA(TM_MATH_FMA(TM_MATH_FMA(TM_MATH_FMA(TM_MATH_FMA(TM_MATH_FMA( \
        (F)(-0x1.0e95c8p-22f), x, (F)(0x1.a907a2p-16f)), x, (F)(-0x1.e67ceap-12f)), x, \
        (F)(0x1.18b20cp-8f)), x, (F)(-0x1.9fbf6cp-6f)), x, (F)(0x1.bcfeccp-4f)), x, \
        (F)(0x1.441d7ep-1f)), x, (F)(0x1.21318ap+0f)), x, (F)(-0x1.acfe6ep-13f))

/* log2(2 (1 - Phi(x))) / x for x >= 0, Phi the normal distribution; fitted up to 6.5, and falling beyond */
#define TM_POLY_NORMAL_LOG2_F32(F, x)                                                                     \
    TM_MATH_FMA(                                                                                          \
        TM_MATH_FMA(                                                                                      \
            TM_MATH_FMA(                                                                                  \
                TM_MATH_FMA(                                                                              \
                    TM_MATH_FMA(TM_MATH_FMA(TM_MATH_FMA(TM_MATH_FMA(TM_MATH_FMA((F)(-0x1.3e9b64p-25f), x, \
                                                                                (F)(0x1.16ab6cp-20f)),    \
                                                                    x, (F)(-0x1.a462f6p-17f)),            \
                                                        x, (F)(0x1.5e2e9cp-14f)),                         \
                                            x, (F)(-0x1.37aebp-12f)),                                     \
                                x, (F)(0x1.96277ep-16f)),                                                 \
                    x, (F)(0x1.c6296p-8f)),                                                               \
                x, (F)(-0x1.ad8fa2p-5f)),                                                                 \
            x, (F)(-0x1.d63df2p-2f)),                                                                     \
        x, (F)(-0x1.26aec6p+0f))

/* For results of which a byte is wanted (coarse_f32.inc): 2^x for |x| <= 1/2 to 7.5e-5, */
#define TM_POLY_EXP2_COARSE_F32(F, x) \
    TM_MATH_FMA(TM_MATH_FMA(TM_MATH_FMA( \
        (F)(0x1.c3f7fap-5f), x, (F)(0x1.f0de3cp-3f)), x, (F)(0x1.62f31ap-1f)), x, (F)(0x1.fff692p-1f))

/* (2^x - 1) / x for |x| <= 1/2 to 1.5e-5, */
#define TM_POLY_EXPM1_COARSE_F32(F, x) \
    TM_MATH_FMA(TM_MATH_FMA(TM_MATH_FMA( \
        (F)(0x1.3b28dp-7f), x, (F)(0x1.c96b28p-5f)), x, (F)(0x1.ebff0cp-3f)), x, (F)(0x1.62e2d6p-1f))

/* 1 / x for 1 <= x <= 2 to 1e-2, */
#define TM_POLY_RECIPROCAL_COARSE_F32(F, x) \
    TM_MATH_FMA(TM_MATH_FMA((F)(0x1.4afb9ep-2f), x, (F)(-0x1.745bdp+0f)), x, (F)(0x1.0f8372p+1f))

/* (1 - Phi(x))^(1/16) for 0 <= x <= 5, Phi the normal distribution: x (1 - Phi(x)) to 1.3e-5 of its maximum,
 */
#define TM_POLY_NORMAL_ROOT_F32(F, x) \
    TM_MATH_FMA(TM_MATH_FMA(TM_MATH_FMA(TM_MATH_FMA(TM_MATH_FMA( \
        (F)(-0x1.84a1d4p-15f), x, (F)(0x1.6d52dcp-11f)), x, (F)(-0x1.6fc9b8p-10f)), x, \
        (F)(-0x1.231ba4p-6f)), x, (F)(-0x1.875dfcp-5f)), x, (F)(0x1.ea4b14p-1f))

/* and with (1 - tanh(sqrt(2/pi) (x + 0.044715 x^3))) / 2 in place of 1 - Phi(x) to 3.4e-5. */
#define TM_POLY_NORMAL_TANH_ROOT_F32(F, x) \
    TM_MATH_FMA(TM_MATH_FMA(TM_MATH_FMA(TM_MATH_FMA(TM_MATH_FMA(TM_MATH_FMA( \
        (F)(0x1.5758dp-16f), x, (F)(-0x1.d47604p-13f)), x, (F)(0x1.13e1e2p-10f)), x, \
        (F)(-0x1.a6081ap-10f)), x, (F)(-0x1.225790p-6f)), x, (F)(-0x1.873d98p-5f)), x, (F)(0x1.ea4abap-1f))

/* the same as EXP_F32 */
#define TM_POLY_EXP_F64(F, x) \
    TM_MATH_FMA(TM_MATH_FMA(TM_MATH_FMA(TM_MATH_FMA(TM_MATH_FMA(TM_MATH_FMA(TM_MATH_FMA(TM_MATH_FMA( \
    TM_MATH_FMA(TM_MATH_FMA( \
        (F)(0x1.1f8e340a792fep-29), x, (F)(0x1.af6173ac7294ap-26)), x, (F)(0x1.27e4cac6be497p-22)), x, \
        (F)(0x1.71ddf6d82d342p-19)), x, (F)(0x1.a01a01adf45abp-16)), x, (F)(0x1.a01a01b06d862p-13)), x, \
        (F)(0x1.6c16c16c14f27p-10)), x, (F)(0x1.111111110f59fp-7)), x, (F)(0x1.5555555555558p-5)), x, \
        (F)(0x1.5555555555559p-3)), x, (F)(0x1p-1))

/* (log((1 + s)/(1 - s))/s - 2) / s^2 in s^2, s = f/(2 + f) */
#define TM_POLY_LOG_F64(F, x) \
    TM_MATH_FMA(TM_MATH_FMA(TM_MATH_FMA(TM_MATH_FMA(TM_MATH_FMA(TM_MATH_FMA(TM_MATH_FMA( \
        (F)(0x1.10195b013e689p-3), x, (F)(0x1.0f4b2399239ccp-3)), x, (F)(0x1.3b214e6cdbeecp-3)), x, \
        (F)(0x1.745cdbab4d6fep-3)), x, (F)(0x1.c71c725bd4f44p-3)), x, (F)(0x1.249249242f32cp-2)), x, \
        (F)(0x1.9999999999d57p-2)), x, (F)(0x1.5555555555555p-1))

/* the part of LOG_F64 above 2/3, divided by s^2: for pow */
#define TM_POLY_LOG_TAIL_F64(F, x) \
    TM_MATH_FMA(TM_MATH_FMA(TM_MATH_FMA(TM_MATH_FMA(TM_MATH_FMA(TM_MATH_FMA(TM_MATH_FMA( \
        (F)(0x1.dab6f516c566ap-4), x, (F)(0x1.e017c0551a1e8p-4)), x, (F)(0x1.111559308f5b1p-3)), x, \
        (F)(0x1.3b13a9a5cb284p-3)), x, (F)(0x1.745d173d3cf16p-3)), x, (F)(0x1.c71c71c74c199p-3)), x, \
        (F)(0x1.24924924922ffp-2)), x, (F)(0x1.999999999999ap-2))

/* as SIN_F32 */
#define TM_POLY_SIN_F64(F, x) \
    TM_MATH_FMA(TM_MATH_FMA(TM_MATH_FMA(TM_MATH_FMA(TM_MATH_FMA( \
        (F)(0x1.5da505e9cf728p-33), x, (F)(-0x1.ae5eab14224eap-26)), x, (F)(0x1.71de35daeb19p-19)), x, \
        (F)(-0x1.a01a019c960efp-13)), x, (F)(0x1.111111110fd77p-7)), x, (F)(-0x1.555555555554dp-3))

/* as COS_F32 */
#define TM_POLY_COS_F64(F, x) \
    TM_MATH_FMA(TM_MATH_FMA(TM_MATH_FMA(TM_MATH_FMA(TM_MATH_FMA( \
        (F)(-0x1.8fe4cd6a15c43p-37), x, (F)(0x1.1eea5c36a6fdbp-29)), x, (F)(-0x1.27e4f8bcda154p-22)), x, \
        (F)(0x1.a01a019dc11d7p-16)), x, (F)(-0x1.6c16c16c15d94p-10)), x, (F)(0x1.5555555555552p-5))

/* (asin(x)/x - 1) / x^2 in x^2, |x| <= 1/2 */
#define TM_POLY_ASIN_F64(F, x) \
    TM_MATH_FMA(TM_MATH_FMA(TM_MATH_FMA(TM_MATH_FMA(TM_MATH_FMA(TM_MATH_FMA(TM_MATH_FMA(TM_MATH_FMA( \
    TM_MATH_FMA(TM_MATH_FMA(TM_MATH_FMA(TM_MATH_FMA( \
        (F)(0x1.00b3bb33e26ep-5), x, (F)(-0x1.350ec049d9b24p-6)), x, (F)(0x1.4a0e49424db44p-6)), x, \
        (F)(0x1.1e9519facd30fp-8)), x, (F)(0x1.5b3ad0529cbb3p-7)), x, (F)(0x1.76a3efb4e7056p-7)), x, \
        (F)(0x1.c9fae36e6a6d4p-7)), x, (F)(0x1.1c4b8bf4221p-6)), x, (F)(0x1.6e8bc6af6e54dp-6)), x, \
        (F)(0x1.f1c71b7e12d51p-6)), x, (F)(0x1.6db6db6f7b70fp-5)), x, (F)(0x1.3333333331cbep-4)), x, \
        (F)(0x1.5555555555559p-3))

/* (atan(x)/x - 1) / x^2 in x^2, |x| <= tan(pi/8) */
#define TM_POLY_ATAN_F64(F, x) \
    TM_MATH_FMA(TM_MATH_FMA(TM_MATH_FMA(TM_MATH_FMA(TM_MATH_FMA(TM_MATH_FMA(TM_MATH_FMA(TM_MATH_FMA( \
    TM_MATH_FMA(TM_MATH_FMA(TM_MATH_FMA( \
        (F)(0x1.fbc4ce0fed639p-7), x, (F)(-0x1.14cae96174b4p-5)), x, (F)(0x1.721ad9fae3d92p-5)), x, \
        (F)(-0x1.abccd9b4f4cefp-5)), x, (F)(0x1.e17f418c2fdap-5)), x, (F)(-0x1.110d2e3eaa1b7p-4)), x, \
        (F)(0x1.3b137c010cae4p-4)), x, (F)(-0x1.745d15659b6aep-4)), x, (F)(0x1.c71c71bc92a85p-4)), x, \
        (F)(-0x1.24924924819a3p-3)), x, (F)(0x1.999999999981p-3)), x, (F)(-0x1.5555555555555p-2))

/* as ERF_F32 */
#define TM_POLY_ERF_F64(F, x) \
    TM_MATH_FMA(TM_MATH_FMA(TM_MATH_FMA(TM_MATH_FMA(TM_MATH_FMA(TM_MATH_FMA(TM_MATH_FMA(TM_MATH_FMA( \
    TM_MATH_FMA(TM_MATH_FMA(TM_MATH_FMA(TM_MATH_FMA( \
        (F)(0x1.2d54b7e2d2affp-34), x, (F)(-0x1.47f5d4e441374p-30)), x, (F)(0x1.fcf964ca3d0bp-27)), x, \
        (F)(-0x1.5fa4b15ba13a3p-23)), x, (F)(0x1.b9f0241aa8bf7p-20)), x, \
        (F)(-0x1.f4d3546f64de8p-17)), x, (F)(0x1.f9a3370be8cbdp-14)), x, \
        (F)(-0x1.c02db4ac45013p-11)), x, (F)(0x1.565bcd130177fp-8)), x, (F)(-0x1.b82ce312aee4dp-6)), x, \
        (F)(0x1.ce2f21a0436ep-4)), x, (F)(-0x1.812746b0379fep-2)), x, (F)(0x1.06eba8214db69p-3))

/* (1 - erf(x)) * e^(x^2) * (1 + 2x) in u = (x - 3)/(x + 3), 1 <= x <= 6 */
#define TM_POLY_ERFCX_F64(F, x) \
    TM_MATH_FMA(TM_MATH_FMA(TM_MATH_FMA(TM_MATH_FMA(TM_MATH_FMA(TM_MATH_FMA(TM_MATH_FMA(TM_MATH_FMA( \
    TM_MATH_FMA(TM_MATH_FMA(TM_MATH_FMA(TM_MATH_FMA(TM_MATH_FMA(TM_MATH_FMA(TM_MATH_FMA(TM_MATH_FMA( \
        (F)(0x1.1efbe2be6ff15p-20), x, (F)(0x1.f0e6930593f4cp-19)), x, (F)(-0x1.ed0ad7a31b214p-21)), x, \
        (F)(-0x1.53d7ea808fb9ap-16)), x, (F)(0x1.4c0ba40314c47p-18)), x, (F)(0x1.06699862bcf1p-13)), x, \
        (F)(-0x1.b90d08ebc3afap-14)), x, (F)(-0x1.98dba65b69345p-11)), x, \
        (F)(0x1.ef1bd1e7e9aa2p-10)), x, (F)(0x1.4b884f36e5bdcp-9)), x, (F)(-0x1.8574c4015fd1ap-6)), x, \
        (F)(0x1.17ca2877c665p-4)), x, (F)(-0x1.e88b803a5ba9fp-4)), x, (F)(0x1.098366a5b49eap-3)), x, \
        (F)(-0x1.85a15c58a9eb8p-5)), x, (F)(-0x1.15c084bb9e8f5p-3)), x, (F)(0x1.40c522d7e4987p+0))

#endif
