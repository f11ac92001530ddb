/* RNN, GRU and LSTM with one unit, step by step by hand, with activations that are easy to
 * follow. */
#include "tests/support/opcase.h"

static const char *const relus[] = {"Relu", "Relu", "Relu", "Relu", "Relu", "Relu"};

/* X 1, 2, 3; h = relu(x + 2h + 1 + 0). */
static void rnn_begin(const char *direction) {
    int dirs = strcmp(direction, "bidirectional") == 0 ? 2 : 1;
    begin("RNN", 14);
    optest_string(&t, "direction", direction);
    optest_int(&t, "hidden_size", 1);
    optest_strings(&t, "activations", relus, dirs);
    F32(DIMS(3, 1, 1), 1, 2, 3);
    F32(DIMS(dirs, 1, 1), 1, 1);
    F32(DIMS(dirs, 1, 1), 2, 2);
    F32(DIMS(dirs, 2), 1, 0, 1, 0);
}

static void rnn(void **state) {
    (void)state;
    rnn_begin("forward"); /* 2; 2 + 4 + 1 = 7; 3 + 14 + 1 = 18 */
    optest_run(&t, 2);
    EXPECT(0, DT_F32, DIMS(3, 1, 1, 1), 2, 7, 18);
    EXPECT(1, DT_F32, DIMS(1, 1, 1), 18);
    optest_end(&t);
    rnn_begin("reverse"); /* 4; 2 + 8 + 1 = 11; 1 + 22 + 1 = 24 */
    optest_run(&t, 2);
    EXPECT(0, DT_F32, DIMS(3, 1, 1, 1), 24, 11, 4);
    EXPECT(1, DT_F32, DIMS(1, 1, 1), 24);
    optest_end(&t);
    rnn_begin("bidirectional"); /* two steps only, from a state of 1 and of 0 */
    optest_input(&t, DT_I32, DIMS(1), VALUES(2));
    F32(DIMS(2, 1, 1), 1, 0);
    optest_run(&t, 2);
    EXPECT(0, DT_F32, DIMS(3, 2, 1, 1), 4, 8, 11, 3, 0, 0);
    EXPECT(1, DT_F32, DIMS(2, 1, 1), 11, 8);
    optest_end(&t);
    rnn_begin("forward");
    optest_float(&t, "clip", 5);
    gives(DT_F32, DIMS(3, 1, 1, 1), VALUES(2, 5, 5));
    rnn_begin("sideways");
    refuses(COHORT_ERR_UNSUPPORTED, "sideways");
    rnn_begin("forward");
    optest_input(&t, DT_I32, DIMS(1), VALUES(4));
    optest_eval_fails(&t, COHORT_ERR_SHAPE, "4 in 3 steps");
    optest_end(&t);
    begin("RNN", 7);
    optest_int(&t, "hidden_size", 2);
    F32(DIMS(3, 1, 1), 1, 2, 3);
    F32(DIMS(1, 1, 1), 1);
    F32(DIMS(1, 1, 1), 2);
    refuses(COHORT_ERR_SHAPE, "W has shape 1x1x1; 1x2x1");
    begin("RNN", 14); /* the batch first, tanh by default */
    optest_int(&t, "layout", 1);
    F32(DIMS(2, 1, 1), 1, -2);
    F32(DIMS(1, 1, 1), 1);
    F32(DIMS(1, 1, 1), 2);
    optest_run(&t, 2);
    EXPECT(0, DT_F32, DIMS(2, 1, 1, 1), tanh(1), tanh(-2));
    EXPECT(1, DT_F32, DIMS(2, 1, 1), tanh(1), tanh(-2));
    optest_end(&t);
}

/* Gates z, r, h: relu(1/4), relu(x), relu(2x + f(r, 3h)), from h = 1. */
static void gru(void **state) {
    (void)state;
    for (int linear = 0; linear < 2; linear++) {
        begin("GRU", 14);
        optest_int(&t, "linear_before_reset", linear);
        optest_strings(&t, "activations", relus, 2);
        F32(DIMS(1, 1, 1), 2);
        F32(DIMS(1, 3, 1), 0, 1, 2);
        F32(DIMS(1, 3, 1), 0, 0, 3);
        F32(DIMS(1, 6), 0.25, 0, 0, 0, 0, 1);
        optest_leave_out(&t);
        F32(DIMS(1, 1, 1), 1);
        optest_run(&t, 2);
        /* r = 2: hidden = 4 + 3*(2*1) + 1 = 11, or 4 + 2*(3*1 + 1) = 12 */
        double hidden = linear ? 12 : 11;
        EXPECT(1, DT_F32, DIMS(1, 1, 1), 0.75 * hidden + 0.25);
        optest_end(&t);
    }
    begin("GRU", 7);
    F32(DIMS(1, 1, 1), 2);
    F32(DIMS(1, 1, 1), 0);
    F32(DIMS(1, 3, 1), 0, 0, 3);
    refuses(COHORT_ERR_SHAPE, "W has shape");
}

/* Gates i, o, f, c: relu of x, 2x, 3x, x + h, with peepholes 1, 10, 100 and c = 1, h = 2. */
static void lstm(void **state) {
    (void)state;
    begin("LSTM", 14);
    optest_strings(&t, "activations", relus, 3);
    F32(DIMS(1, 1, 1), 1);
    F32(DIMS(1, 4, 1), 1, 2, 3, 1);
    F32(DIMS(1, 4, 1), 0, 0, 0, 1);
    optest_leave_out(&t);
    optest_leave_out(&t);
    F32(DIMS(1, 1, 1), 2);
    F32(DIMS(1, 1, 1), 1);
    F32(DIMS(1, 3), 1, 10, 100);
    optest_run(&t, 3);
    /* i = 2, f = 103, c = 103 + 2*3 = 109, o = 2 + 1090, h = o*c */
    EXPECT(2, DT_F32, DIMS(1, 1, 1), 109);
    EXPECT(1, DT_F32, DIMS(1, 1, 1), 1092 * 109);
    EXPECT(0, DT_F32, DIMS(1, 1, 1, 1), 1092 * 109);
    optest_end(&t);
    begin("LSTM", 7);
    optest_int(&t, "input_forget", 1); /* f = 1 - i = -1 */
    optest_strings(&t, "activations", relus, 3);
    F32(DIMS(1, 1, 1), 2);
    F32(DIMS(1, 4, 1), 1, 1, 0, 1);
    F32(DIMS(1, 4, 1), 0, 0, 0, 0);
    optest_leave_out(&t);
    optest_leave_out(&t);
    optest_leave_out(&t);
    F32(DIMS(1, 1, 1), 1);
    optest_run(&t, 3);
    EXPECT(2, DT_F32, DIMS(1, 1, 1), -1 + 4);
    EXPECT(1, DT_F32, DIMS(1, 1, 1), 6);
    optest_end(&t);
    begin("LSTM", 7);
    F32(DIMS(1, 1, 1), 2);
    F32(DIMS(1, 4, 1), 1, 1, 0, 1);
    F32(DIMS(1, 4, 1), 0, 0, 0, 0);
    gives(DT_F32, DIMS(1, 1, 1, 1), VALUES(tanh(tanh(2) / (1 + exp(-2))) / (1 + exp(-2))));
    begin("LSTM", 7);
    optest_strings(&t, "activations", relus, 2);
    F32(DIMS(1, 1, 1), 2);
    F32(DIMS(1, 4, 1), 1, 1, 0, 1);
    F32(DIMS(1, 4, 1), 0, 0, 0, 0);
    refuses(COHORT_ERR_SHAPE, "activations has 2");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rnn),
        cmocka_unit_test(gru),
        cmocka_unit_test(lstm),
    };
    return cmocka_run_group_tests(tests, NULL, no_leaks);
}
