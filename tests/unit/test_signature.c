/* Signatures: texts that can be read back, texts that cannot, which kernels may compute them, and
 * programs that take the kernel chosen for them. */
#include "tests/support/graphtest.h"

#include "base/mem.h"
#include "exec/exec.h"
#include "exec/signature.h"
#include "tests/support/leaks.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <string.h>

static const struct signature conv = {.family = SIGNATURE_CONV,
                                      .conv = {.in_c = 64,
                                               .in_h = 56,
                                               .in_w = 57,
                                               .out_c = 128,
                                               .out_h = 28,
                                               .out_w = 29,
                                               .groups = 2,
                                               .kernel_h = 3,
                                               .kernel_w = 5,
                                               .stride_h = 2,
                                               .stride_w = 1,
                                               .pad_top = 1,
                                               .pad_left = 0,
                                               .dilation_h = 1,
                                               .dilation_w = 3,
                                               .in_blocked = true,
                                               .out_blocked = false}};
#define CONV_TEXT                                                                                  \
    "conv 64x56x57 to 128x28x29 kernel 3x5 stride 2x1 pad 1,0 dilation 1x3 groups 2 maps bn"

static void texts_are_read_back(void **state) {
    (void)state;
    char text[SIGNATURE_TEXT_BYTES];
    struct signature s;
    assert_string_equal(signature_text(&conv, text), CONV_TEXT);
    assert_true(signature_parse(&s, CONV_TEXT));
    assert_memory_equal(&s.conv, &conv.conv, sizeof s.conv);
    assert_true(signature_parse(&s, "gemm 5000000000x4096 to 1000"));
    assert_int_equal(s.family, SIGNATURE_GEMM);
    assert_true(s.gemm.rows == 5000000000 && s.gemm.k == 4096 && s.gemm.n == 1000);
    assert_string_equal(signature_text(&s, text), "gemm 5000000000x4096 to 1000");
    assert_true(signature_macs(&s) == 5000000000.0 * 4096 * 1000);
    struct signature half;
    assert_true(signature_parse(&half, "gemm 5000000000x4096 to 1000 f16"));
    assert_true(half.gemm.half && !signature_equal(&s, &half));
    struct signature fp16 = conv;
    signature_set_options(&fp16, true, true);
    assert_true(fp16.fp16 && !fp16.gemm.half && !signature_equal(&conv, &fp16));
    assert_string_equal(signature_text(&fp16, text), CONV_TEXT " fp16");
    assert_true(signature_parse(&s, text) && signature_equal(&s, &fp16));
    assert_true(signature_parse(&s, "gemm 1x4096 to 1000 fp16"));
    assert_true(s.fp16 && !s.gemm.half);
    signature_set_options(&s, true, true); /* products with such weights compute in float32 */
    assert_true(!s.fp16 && s.gemm.half);
    assert_true(signature_macs(&conv) == 28.0 * 29 * 128 * 32 * 15);
}

static void other_texts_are_refused(void **state) {
    (void)state;
    static const char *const bad[] = {
        "",
        "conv",
        "conv ",
        "gemm",
        "gemm 1x2 to",
        "gemm 1x2 to 3 ",
        "gemm 1x2 to 03",
        "gemm 1x2 to 3 f32",
        "gemm 1x2 to 3 f16 ",
        "gemm 1x2 to 3 fp16 ",
        "gemm 1x2 to 3 fp16 fp16",
        "gemm fp16",
        "conv fp16",
        "gemm 1x2x3",
        "gemm 1x99999999999 to 3",
        "gemm 1x+2 to 3",
        "gemm 1x-0 to 3",
        "Gemm 1x2 to 3",
        "pool 1x2 to 3",
        "gemm 9999999999999999999999x2 to 3",
        CONV_TEXT " ",
        CONV_TEXT "b",
        "conv 64x56x57 to 128x28x29 kernel 3x5 stride 2x1 pad 1,0 dilation 1x3 groups 2 maps bx"};
    struct signature s;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (signature_parse(&s, bad[i]))
            fail_msg("'%s' was read", bad[i]);
    /* Every prefix of a text, and every text with one character changed, is another or none. */
    char text[] = CONV_TEXT;
    for (size_t i = strlen(text); i-- > 0;) {
        char kept = text[i];
        text[i] = '\0';
        assert_false(signature_parse(&s, text));
        text[i] = '~';
        assert_false(signature_parse(&s, text));
        text[i] = kept;
    }
    assert_true(signature_parse(&s, text));
}

/* Candidates give the same bits for any rows, run here, and hold what the estimate takes. */
static void candidates_can_do_it(void **state) {
    (void)state;
    static const struct signature product = {.family = SIGNATURE_GEMM,
                                             .gemm = {.rows = 1, .k = 256, .n = 100}};
    struct signature plain = conv, transposed = conv;
    plain.conv.groups = 1;
    plain.conv.out_blocked = true;
    transposed = plain;
    transposed.family = SIGNATURE_DECONV;
    const struct signature *const all[] = {&plain, &transposed, &product};
    for (int i = 0; i < 3; i++) {
        const char *names[64], *ranked[64], *estimate;
        double rates[64];
        int n = signature_candidates(all[i], ~0u, names, 64), found = 0;
        assert_true(n > 0);
        assert_int_equal(signature_ranked(all[i], ~0u, ranked, rates, 64), n);
        if (all[i]->family == SIGNATURE_GEMM)
            estimate = kernel_choose_gemm(&all[i]->gemm, ~0u, NULL)->name;
        else
            estimate =
                (all[i]->family == SIGNATURE_CONV ? kernel_choose_conv
                                                  : kernel_choose_deconv)(&all[i]->conv, ~0u, NULL)
                    ->name;
        assert_string_equal(ranked[0], estimate);
        for (int k = 0; k < n; k++) {
            assert_null(strstr(names[k], "blas"));
            assert_true(k == 0 || rates[k] <= rates[k - 1]);
            for (int q = 0; q < n; q++)
                found += strcmp(names[k], ranked[q]) == 0;
        }
        assert_int_equal(found, n);
        n = signature_candidates(all[i], 1u << ISA_GENERIC, names, 64);
        assert_true(n >= 1);
        for (int k = 0; k < n; k++)
            assert_non_null(strstr(names[k], "generic"));
        assert_int_equal(signature_candidates(all[i], ~0u, names, 1), 1);
    }
}

static void choices_are_found(void **state) {
    (void)state;
    struct signature other = conv;
    other.conv.pad_left = 1;
    const struct kernel_choice items[] = {{other, "a"}, {conv, "b"}};
    const struct kernel_choices choices = {items, 2};
    assert_string_equal(kernel_chosen(&choices, &conv), "b");
    assert_string_equal(kernel_chosen(&choices, &other), "a");
    other.family = SIGNATURE_DECONV;
    assert_null(kernel_chosen(&choices, &other));
    assert_null(kernel_chosen(NULL, &conv));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_are_read_back),  cmocka_unit_test(other_texts_are_refused),
        cmocka_unit_test(candidates_can_do_it), cmocka_unit_test(choices_are_found),
        cmocka_unit_test(nothing_is_left),
    };
    return cmocka_run_group_tests_name("signature", tests, NULL, NULL);
}
