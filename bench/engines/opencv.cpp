// OpenCV's DNN module as an engine of bench/single: its own backend, on the CPU.
#include "engine.h"

#include <opencv2/core.hpp>
#include <opencv2/dnn.hpp>

#include <string>
#include <vector>

static cv::dnn::Net net;
static cv::Mat input, output;
static std::string what;

// The dims of the network's only input, which OpenCV does not tell: the caller gives them.
static std::vector<int> input_dims() {
    std::vector<int> dims;
    const char *text = getenv("ENGINE_INPUT");
    for (char *end; text != nullptr && *text != '\0'; text = *end == 'x' ? end + 1 : end)
        dims.push_back((int)strtol(text, &end, 10));
    return dims;
}

static const char *one_line(const std::exception &e) {
    what = e.what();
    for (char &c : what)
        c = c == '\n' ? ' ' : c;
    return what.c_str();
}

static const char *open_network(const char *model, int threads) try {
    cv::setNumThreads(threads);
    net = cv::dnn::readNetFromONNX(model);
    net.setPreferableBackend(cv::dnn::DNN_BACKEND_OPENCV);
    net.setPreferableTarget(cv::dnn::DNN_TARGET_CPU);
    input.create(input_dims(), CV_32F);
    for (size_t i = 0; i < input.total(); i++)
        input.ptr<float>()[i] = engine_number((long)i);
    return nullptr;
} catch (const std::exception &e) {
    return one_line(e);
}

static const char *run() try {
    net.setInput(input);
    output = net.forward();
    return nullptr;
} catch (const std::exception &e) {
    return one_line(e);
}

static const float *answer(long *count) {
    *count = (long)output.total();
    return output.type() == CV_32F && output.isContinuous() ? output.ptr<float>() : nullptr;
}

int main(int argc, char **argv) {
    engine e = {};
    e.open = open_network;
    e.run = run;
    e.answer = answer;
    return engine_serve(&e, argc, argv);
}
