/* Attention, RotaryEmbedding, and the operators on quantized numbers, by hand. */
#include "tests/support/opcase.h"

/* One head, one query, two keys; with a scale of ln 2 the weights are 2^x. */
static void attention_begin(int opset) {
    begin("Attention", opset);
    optest_float(&t, "scale", 0.69314718f);
    F32(DIMS(1, 1, 1, 1), 1);
    F32(DIMS(1, 1, 2, 1), 0, 1);
    F32(DIMS(1, 1, 2, 1), 3, 9);
}

static void attention(void **state) {
    (void)state;
    attention_begin(23); /* weights 1/3, 2/3 */
    gives(DT_F32, DIMS(1, 1, 1, 1), VALUES(7));
    attention_begin(23);
    optest_int(&t, "is_causal", 1); /* query 0 sees key 0 */
    gives(DT_F32, DIMS(1, 1, 1, 1), VALUES(3));
    attention_begin(23);
    optest_input(&t, DT_BOOL, DIMS(1, 2), VALUES(0, 1));
    gives(DT_F32, DIMS(1, 1, 1, 1), VALUES(9));
    attention_begin(23);
    optest_input(&t, DT_BOOL, DIMS(1, 2), VALUES(0, 0)); /* nothing to see */
    gives(DT_F32, DIMS(1, 1, 1, 1), VALUES(0));
    attention_begin(24);
    F32(DIMS(1, 1), 0);                         /* what a mask lacks is masked */
    gives(DT_F32, DIMS(1, 1, 1, 1), VALUES(7)); /* but one column is broadcast */
    attention_begin(24);
    F32(DIMS(1, 2), 0.69314718, 0); /* added: 2^(0 + 1) and 2^1 */
    gives(DT_F32, DIMS(1, 1, 1, 1), VALUES(6));
    begin("Attention", 23); /* default scale 1/2 of depth 4: products 4, 0 become 2, 0 */
    F32(DIMS(1, 1, 1, 4), 1, 1, 1, 1);
    F32(DIMS(1, 1, 2, 4), 1, 1, 1, 1, 0, 0, 0, 0);
    F32(DIMS(1, 1, 2, 1), 1, 0);
    gives(DT_F32, DIMS(1, 1, 1, 1), VALUES(1 / (1 + exp(-2))));
}

static void attention_heads(void **state) {
    (void)state;
    begin("Attention", 23); /* 3-D: two query heads share one key head */
    optest_int(&t, "q_num_heads", 2);
    optest_int(&t, "kv_num_heads", 1);
    optest_float(&t, "scale", 0.69314718f);
    F32(DIMS(1, 1, 2), 1, -1);
    F32(DIMS(1, 2, 1), 0, 1);
    F32(DIMS(1, 2, 1), 3, 9);
    gives(DT_F32, DIMS(1, 1, 2), VALUES(7, 5));
    attention_begin(23);
    optest_leave_out(&t);
    F32(DIMS(1, 1, 1, 1), 2); /* a key before: weights 4/7, 1/7, 2/7 */
    F32(DIMS(1, 1, 1, 1), 7);
    optest_run(&t, 3);
    EXPECT(0, DT_F32, DIMS(1, 1, 1, 1), (28 + 3 + 18) / 7.0);
    EXPECT(1, DT_F32, DIMS(1, 1, 3, 1), 2, 0, 1);
    EXPECT(2, DT_F32, DIMS(1, 1, 3, 1), 7, 3, 9);
    optest_end(&t);
    for (int length = 0; length <= 2; length++) {
        static const double wanted[] = {0, 3, 7};
        attention_begin(24);
        for (int i = 0; i < 3; i++)
            optest_leave_out(&t);
        optest_list(&t, INTS(length)); /* keys that count */
        gives(DT_F32, DIMS(1, 1, 1, 1), &wanted[length]);
    }
    attention_begin(24);
    for (int i = 0; i < 3; i++)
        optest_leave_out(&t);
    optest_list(&t, INTS(3));
    optest_eval_fails(&t, COHORT_ERR_SHAPE, "3 with 2 keys");
    optest_end(&t);
    attention_begin(23);
    optest_int(&t, "qk_matmul_output_mode", 3);
    optest_run(&t, 4);
    EXPECT(3, DT_F32, DIMS(1, 1, 1, 2), 1 / 3.0, 2 / 3.0);
    optest_end(&t);
    attention_begin(23);
    optest_float(&t, "softcap", 0.5f);
    double weight = exp(0.5 * tanh(0.69314718 / 0.5));
    gives(DT_F32, DIMS(1, 1, 1, 1), VALUES((3 + 9 * weight) / (1 + weight)));
    begin("Attention", 23);
    optest_int(&t, "q_num_heads", 3);
    optest_int(&t, "kv_num_heads", 2);
    for (int i = 0; i < 3; i++)
        F32(DIMS(1, 1, 6), 1, 2, 3, 4, 5, 6);
    refuses(COHORT_ERR_SHAPE, "do not fit together");
    attention_begin(23);
    F32(DIMS(1, 3), 0, 0, 0);
    refuses(COHORT_ERR_SHAPE, "a mask of shape 1x3");
    attention_begin(23);
    optest_leave_out(&t);
    F32(DIMS(1, 1, 1, 1), 2);
    refuses(COHORT_ERR_SHAPE, "go together");
}

static void rotary_begin(int interleaved) {
    begin("RotaryEmbedding", 23);
    optest_int(&t, "interleaved", interleaved);
    F32(DIMS(1, 1, 1, 4), 1, 2, 3, 4);
}

static void rotary_embedding(void **state) {
    (void)state;
    for (int interleaved = 0; interleaved < 2; interleaved++) {
        static const double wanted[2][4] = {{-3, 2, 1, 4}, {-2, 1, 3, 4}};
        rotary_begin(interleaved); /* the first pair by a right angle, the second not at all */
        F32(DIMS(1, 1, 2), 0, 1);
        F32(DIMS(1, 1, 2), 1, 0);
        gives(DT_F32, DIMS(1, 1, 1, 4), wanted[interleaved]);
    }
    rotary_begin(0); /* the cache's second row; one pair of the first two elements */
    optest_int(&t, "rotary_embedding_dim", 2);
    F32(DIMS(2, 1), 1, 0);
    F32(DIMS(2, 1), 0, 1);
    optest_input(&t, DT_I64, DIMS(1, 1), VALUES(1));
    gives(DT_F32, DIMS(1, 1, 1, 4), VALUES(-2, 1, 3, 4));
    begin("RotaryEmbedding", 23);
    optest_int(&t, "num_heads", 2);
    F32(DIMS(1, 1, 4), 1, 2, 3, 4);
    F32(DIMS(1, 1, 1), 0);
    F32(DIMS(1, 1, 1), 1);
    gives(DT_F32, DIMS(1, 1, 4), VALUES(-2, 1, -4, 3));
    rotary_begin(0);
    F32(DIMS(2, 2), 1, 0, 1, 1);
    F32(DIMS(2, 2), 0, 1, 1, 1);
    optest_input(&t, DT_I64, DIMS(1, 1), VALUES(2));
    optest_eval_fails(&t, COHORT_ERR_SHAPE, "index 2");
    optest_end(&t);
    rotary_begin(0);
    F32(DIMS(1, 1, 1), 0);
    F32(DIMS(1, 1, 1), 0);
    refuses(COHORT_ERR_SHAPE, "cos_cache has shape 1x1x1");
    rotary_begin(0);
    optest_int(&t, "rotary_embedding_dim", 3);
    F32(DIMS(1, 1, 2), 0, 1);
    F32(DIMS(1, 1, 2), 0, 1);
    refuses(COHORT_ERR_SHAPE, "3 of 4");
}

static void byte(enum dtype type, struct shape shape, const double *values) {
    optest_input(&t, type, shape, values);
}

static void integer_products(void **state) {
    (void)state;
    begin("MatMulInteger", 10);
    byte(DT_U8, DIMS(1, 2), VALUES(11, 7));
    byte(DT_I8, DIMS(2, 2), VALUES(1, -2, 3, 4));
    byte(DT_U8, SCALAR, VALUES(12));
    gives(DT_I32, DIMS(1, 2), VALUES(-1 - 15, 2 - 20));
    begin("MatMulInteger", 10); /* a zero for each row, and for each column */
    byte(DT_U8, DIMS(2, 1), VALUES(5, 5));
    byte(DT_U8, DIMS(1, 2), VALUES(9, 9));
    byte(DT_U8, DIMS(2), VALUES(4, 3));
    byte(DT_U8, DIMS(2), VALUES(8, 6));
    gives(DT_I32, DIMS(2, 2), VALUES(1, 3, 2, 6));
    begin("ConvInteger", 10);
    optest_ints(&t, "pads", INTS(1, 0)); /* the pad is a zero, that is, the zero point */
    byte(DT_U8, DIMS(1, 1, 3), VALUES(3, 4, 5));
    byte(DT_U8, DIMS(2, 1, 2), VALUES(1, 2, 3, 5));
    byte(DT_U8, SCALAR, VALUES(1));
    byte(DT_U8, DIMS(2), VALUES(0, 3));
    gives(DT_I32, DIMS(1, 2, 3), VALUES(4, 8, 11, 4, 6, 8));
    begin("MatMulInteger", 10);
    byte(DT_U8, DIMS(1, 2), VALUES(11, 7));
    byte(DT_I8, DIMS(3, 1), VALUES(1, -2, 3));
    refuses(COHORT_ERR_SHAPE, "cannot be multiplied");
    begin("MatMulInteger", 10);
    byte(DT_U8, DIMS(1, 1), VALUES(11));
    byte(DT_I8, DIMS(1, 1), VALUES(1));
    byte(DT_I8, SCALAR, VALUES(1));
    refuses(COHORT_ERR_SHAPE, "a zero point of type int8");
    begin("ConvInteger", 10);
    byte(DT_U8, DIMS(1, 1, 3), VALUES(3, 4, 5));
    byte(DT_U8, DIMS(1, 1, 2), VALUES(1, 2));
    byte(DT_U8, DIMS(3), VALUES(1, 2, 3));
    refuses(COHORT_ERR_SHAPE, "a zero point of shape 3");
}

static void linear_products(void **state) {
    (void)state;
    begin("QLinearMatMul", 10); /* (3-1)/2 * (5-1)/4 + (5-1)/2 * (9-1)/4 = 5; 5/0.5 + 100 */
    byte(DT_U8, DIMS(1, 2), VALUES(3, 5));
    F32(DIMS(1), 0.5);
    byte(DT_U8, DIMS(1), VALUES(1));
    byte(DT_U8, DIMS(2, 1), VALUES(5, 9));
    F32(DIMS(1), 0.25);
    byte(DT_U8, DIMS(1), VALUES(1));
    F32(DIMS(1), 0.5);
    byte(DT_U8, DIMS(1), VALUES(100));
    gives(DT_U8, DIMS(1, 1), VALUES(110));
    begin("QLinearConv", 10); /* two channels with scales 1, 1/2; bias 1, 3; saturated */
    byte(DT_U8, DIMS(1, 1, 2), VALUES(10, 200));
    F32(SCALAR, 1);
    byte(DT_U8, SCALAR, VALUES(0));
    byte(DT_I8, DIMS(2, 1, 1), VALUES(1, 3));
    F32(DIMS(2), 1, 0.5);
    byte(DT_I8, DIMS(2), VALUES(0, 0));
    F32(SCALAR, 2);
    byte(DT_U8, SCALAR, VALUES(10));
    optest_input(&t, DT_I32, DIMS(2), VALUES(1, 3));
    /* (10+1)/2 = 5.5 to 6, 201/2 = 100.5 to 100; (30+3)/4 = 8.25, 603/4 = 150.75 */
    gives(DT_U8, DIMS(1, 2, 2), VALUES(16, 110, 18, 161));
    begin("QLinearMatMul", 10);
    for (int i = 0; i < 8; i++)
        byte(DT_U8, DIMS(1, 1), VALUES(3));
    refuses(COHORT_ERR_UNSUPPORTED, "input 1 has type uint8");
}

static void dynamic_quantize(void **state) {
    (void)state;
    begin("DynamicQuantizeLinear", 11);
    F32(DIMS(3), -51, 0, 204);
    optest_run(&t, 3);
    EXPECT(0, DT_U8, DIMS(3), 0, 51, 255);
    EXPECT(1, DT_F32, SCALAR, 1);
    EXPECT(2, DT_U8, SCALAR, 51);
    optest_end(&t);
    begin("DynamicQuantizeLinear", 11);
    F32(DIMS(2), 0, 0);
    optest_run(&t, 3);
    EXPECT(0, DT_U8, DIMS(2), 0, 0);
    optest_end(&t);
    begin("DynamicQuantizeLinear", 11);
    optest_input(&t, DT_F64, DIMS(2), VALUES(0, 0));
    refuses(COHORT_ERR_UNSUPPORTED, "float64");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(attention),        cmocka_unit_test(attention_heads),
        cmocka_unit_test(rotary_embedding), cmocka_unit_test(integer_products),
        cmocka_unit_test(linear_products),  cmocka_unit_test(dynamic_quantize),
    };
    return cmocka_run_group_tests(tests, NULL, no_leaks);
}
