/* The networks by name, and writing one. */
#include "synth/synth.h"

#include "base/mem.h"
#include "base/options.h"
#include "synth/build.h"

#include <ctype.h>
#include <string.h>

#define OPSET           13
#define SIZE_MAX_PIXELS 16384
#define WIDTH_MAX       16
#define CLASSES_MAX     1000000

static const struct synth_network networks[] = {
    {"vgg11", "VGG-11 (Simonyan & Zisserman 2014)", 224},
    {"vgg13", "VGG-13", 224},
    {"vgg16", "VGG-16", 224},
    {"vgg19", "VGG-19", 224},
    {"resnet18", "ResNet-18 (He et al. 2015)", 224},
    {"resnet34", "ResNet-34", 224},
    {"resnet50", "ResNet-50, stride on the 3x3 convolution", 224},
    {"resnet101", "ResNet-101", 224},
    {"resnet152", "ResNet-152", 224},
    {"mobilenetv2", "MobileNetV2 (Sandler et al. 2018)", 224},
    {"mobilenetv3", "MobileNetV3-Large (Howard et al. 2019)", 224},
    {"squeezenet1.0", "SqueezeNet 1.0 (Iandola et al. 2016)", 224},
    {"squeezenet1.1", "SqueezeNet 1.1", 224},
    {"googlenet", "GoogLeNet with BatchNormalization (Szegedy et al. 2014)", 224},
    {"inceptionv3", "InceptionV3 (Szegedy et al. 2015)", 299},
    {"densenet121", "DenseNet-121 (Huang et al. 2016)", 224},
    {"efficientnet_b0", "EfficientNet-B0 (Tan & Le 2019)", 224},
    {"shufflenetv2", "ShuffleNetV2 x1.0 (Ma et al. 2018)", 224},
    {"alexnet", "AlexNet in one column (Krizhevsky 2014)", 224},
    {"lenet5", "LeNet-5, one channel of 32x32 (LeCun et al. 1998)", 32},
    {"yolov2", "YOLOv2 on Darknet-19, COCO (Redmon & Farhadi 2016)", 416},
    {"tinyyolo", "tiny YOLOv2, COCO", 416},
};
#define NETWORKS ((int)(sizeof networks / sizeof networks[0]))

/* In the order of networks[]. */
static const struct {
    net_fn describe;
    int variant;
    int classes;
} details[] = {
    {net_vgg, 11, 1000},         {net_vgg, 13, 1000},         {net_vgg, 16, 1000},
    {net_vgg, 19, 1000},         {net_resnet, 18, 1000},      {net_resnet, 34, 1000},
    {net_resnet, 50, 1000},      {net_resnet, 101, 1000},     {net_resnet, 152, 1000},
    {net_mobilenet_v2, 0, 1000}, {net_mobilenet_v3, 0, 1000}, {net_squeezenet, 10, 1000},
    {net_squeezenet, 11, 1000},  {net_googlenet, 0, 1000},    {net_inception_v3, 0, 1000},
    {net_densenet, 121, 1000},   {net_efficientnet, 0, 1000}, {net_shufflenet_v2, 0, 1000},
    {net_alexnet, 0, 1000},      {net_lenet, 0, 10},          {net_yolo_v2, 0, 80},
    {net_yolo_tiny, 0, 80},
};
_Static_assert(sizeof details / sizeof details[0] == sizeof networks / sizeof networks[0],
               "one line of details[] for each network");

const struct synth_network *synth_networks(int *count) {
    *count = NETWORKS;
    return networks;
}

/* The next character that counts, in lower case; 0 at the end. */
static int significant(const char **text) {
    while (**text == '-' || **text == '_' || **text == '.')
        (*text)++;
    return **text == '\0' ? 0 : tolower((unsigned char)*(*text)++);
}

static bool same_name(const char *a, const char *b) {
    int ca, cb;
    do {
        ca = significant(&a);
        cb = significant(&b);
    } while (ca == cb && ca != 0);
    return ca == cb;
}

const struct synth_network *synth_find(const char *name) {
    for (int i = 0; i < NETWORKS; i++)
        if (same_name(name, networks[i].name))
            return &networks[i];
    return NULL;
}

static enum cohort_code unknown_network(const char *name, struct cohort_error *err) {
    const char *names[NETWORKS];
    for (int i = 0; i < NETWORKS; i++)
        names[i] = networks[i].name;
    const char *closest = closest_name(name, names, NETWORKS);
    if (closest != NULL)
        return error_set(err, COHORT_ERR_USAGE, "no network is called %s: did you mean %s?", name,
                         closest);
    return error_set(err, COHORT_ERR_USAGE,
                     "no network is called %s (cohort synth --list prints them all)", name);
}

static enum cohort_code check_options(const struct synth_options *o, struct cohort_error *err) {
    if (o->size < 1 || o->size > SIZE_MAX_PIXELS)
        return error_set(err, COHORT_ERR_USAGE, "--size %d: allowed are 1 to %d pixels", o->size,
                         SIZE_MAX_PIXELS);
    if (!(o->width > 0 && o->width <= WIDTH_MAX))
        return error_set(err, COHORT_ERR_USAGE, "--width %g: allowed are factors up to %d",
                         o->width, WIDTH_MAX);
    if (o->classes < 1 || o->classes > CLASSES_MAX)
        return error_set(err, COHORT_ERR_USAGE, "--classes %d: allowed are 1 to %d", o->classes,
                         CLASSES_MAX);
    return COHORT_OK;
}

enum cohort_code net_create(struct net *n, const char *name, const struct synth_options *o,
                            struct cohort_error *err) {
    const struct synth_network *found = synth_find(name);
    if (found == NULL)
        return unknown_network(name, err);
    const size_t i = (size_t)(found - networks);
    *n = (struct net){.network = found->name, .options = *o, .err = err};
    if (n->options.size == 0)
        n->options.size = found->size;
    if (n->options.width == 0)
        n->options.width = 1;
    if (n->options.classes == 0)
        n->options.classes = details[i].classes;
    enum cohort_code code = check_options(&n->options, err);
    if (code == COHORT_OK)
        code = onnx_writer_create(&n->writer, found->name, OPSET, err);
    if (code != COHORT_OK)
        return code;
    details[i].describe(n, details[i].variant);
    code = n->code;
    if (code != COHORT_OK)
        net_release(n);
    return code;
}

enum cohort_code synth_write(const char *name, const struct synth_options *o, const char *path,
                             struct cohort_error *err) {
    struct net n;
    enum cohort_code code = net_create(&n, name, o, err);
    if (code != COHORT_OK)
        return code;
    code = onnx_writer_save(n.writer, path, err);
    net_release(&n);
    return code;
}
