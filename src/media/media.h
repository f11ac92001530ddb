/* Pictures and arrays: reading, preparing them for a network, and showing results on them.
 *
 * Knows nothing of graphs, MPI or boards; used by the command line. */
#ifndef COHORT_MEDIA_MEDIA_H
#define COHORT_MEDIA_MEDIA_H

#include "base/error.h"
#include "graph/tensor.h"

struct image { /* 8-bit RGB, [height][width][3] */
    int width, height;
    uint8_t *pixels;
};

/* JPEG or PNG by content; grey, palette, alpha (over white) and 16 bit are converted.
 * Errors: io, format ("cat.txt: not a JPEG or PNG image"), unsupported (over 100 megapixels), memory. */
enum cohort_code image_load(struct image *im, const char *path, struct cohort_error *err);
enum cohort_code image_save_png(const struct image *im, const char *path, struct cohort_error *err);
enum cohort_code image_init(struct image *im, int width, int height, struct cohort_error *err); /* black */
void image_release(struct image *im);
/* Bilinear with area averaging when shrinking (antialiased), as Pillow's BILINEAR; half-pixel centres. */
enum cohort_code image_resize(struct image *out, const struct image *in, int width, int height, struct cohort_error *err);
enum cohort_code image_crop(struct image *out, const struct image *in, int x, int y, int width, int height, struct cohort_error *err);
/* The quadrilateral of `in` with corners (x,y) clockwise from top left, straightened to width x height. */
enum cohort_code image_warp(struct image *out, const struct image *in, const float corners[8], int width, int height, struct cohort_error *err);
void image_draw_line(struct image *im, int x0, int y0, int x1, int y1, int thickness, const uint8_t rgb[3]);
void image_draw_rectangle(struct image *im, int x0, int y0, int x1, int y1, int thickness, const uint8_t rgb[3]);
/* Plain text in a built-in bitmap font (ASCII 32..126), `scale` times 5x7 pixels, with a background box. */
void image_draw_text(struct image *im, int x, int y, int scale, const char *text, const uint8_t rgb[3], const uint8_t background[3]);

/* .npy (format 1.0 to 3.0, little-endian, C order; Fortran order is converted): numbers and bool. */
enum cohort_code npy_load(struct tensor *t, const char *path, struct cohort_error *err);
enum cohort_code npy_save(const struct tensor *t, const char *path, struct cohort_error *err);

/* ---- preprocessing -------------------------------------------------------------------------------- */

enum fit_mode {
    FIT_STRETCH,   /* to the input's size, ignoring the aspect ratio */
    FIT_CROP,      /* short side to `resize_short` (or the input's size), centre crop */
    FIT_LETTERBOX, /* whole image inside, rest filled with `fill`; top left or centred */
};
struct preprocess {
    enum fit_mode fit;
    int resize_short;        /* FIT_CROP: 0 = the input's short side */
    bool centre;             /* FIT_LETTERBOX: centred instead of top left */
    float fill;              /* FIT_LETTERBOX, on the 0..255 scale */
    bool bgr;
    bool nhwc;               /* the input is [N,H,W,C] */
    float scale;             /* value = (pixel*scale - mean[c]) / std[c], pixel 0..255 */
    float mean[3], std[3];
};
/* "imagenet" (short side 256, crop, /255, mean and std), "yolo" (letterbox, /255), "raw" (stretch, 0..255).
 * false: unknown name. */
bool preprocess_preset(struct preprocess *p, const char *name);
const char *const *preprocess_presets(int *count);

/* How the image was placed in the input, to map boxes back: input = image*scale + offset. */
struct placement {
    float scale_x, scale_y, offset_x, offset_y;
};
/* Fills *t (a new float32 [1,3,H,W], [1,H,W,3] or [1,1,H,W] by `channels`) from the image. */
enum cohort_code preprocess_image(struct tensor *t, struct placement *where, const struct image *im,
                                  const struct preprocess *p, int channels, int height, int width, struct cohort_error *err);

/* ---- results -------------------------------------------------------------------------------------- */

struct labels { char **names; int count; };
/* One label a line (UTF-8). */
enum cohort_code labels_load(struct labels *l, const char *path, struct cohort_error *err);
void labels_release(struct labels *l);

struct ranked { int index; float score; };
/* The k best of n scores, best first, ties by index; softmaxed first when they are not
 * probabilities (all in [0,1] with sum within 1e-2 of 1). Returns how many. */
int top_k(const float *scores, int n, int k, struct ranked *out);

struct box { float x0, y0, x1, y1, score; int label; }; /* pixels of the original image */
enum box_head { BOX_AUTO, BOX_YOLOV2, BOX_YOLOV5, BOX_YOLOV8, BOX_YOLOX };
struct box_options {
    enum box_head head;
    float confidence, iou;  /* 0: 0.25 and 0.45 */
    int input_width, input_height;
    const float *anchors;   /* YOLOv2: pairs in grid cells; NULL: COCO's five */
    int anchor_count;
    struct placement where;
    int image_width, image_height;
};
/* Decodes a detector's output tensor and keeps the best boxes by non-maximum suppression per class.
 * *boxes is new (mem_free), best first.  Errors: shape (the output fits no known head, naming its shape). */
enum cohort_code boxes_decode(struct box **boxes, int *count, const struct tensor *output,
                              const struct box_options *o, struct cohort_error *err);
void boxes_draw(struct image *im, const struct box *boxes, int count, const struct labels *labels);

/* ---- text (PP-OCR style detector and recogniser) ---------------------------------------------------- */

struct text_region { float corners[8]; float score; }; /* clockwise from top left, image pixels */
/* Differentiable-binarisation map [1,1,H,W] of probabilities to regions: threshold, components,
 * minimum-area rectangles, unclip by area*ratio/perimeter; in reading order (top to bottom, left to right). */
enum cohort_code text_regions(struct text_region **regions, int *count, const struct tensor *map,
                              const struct placement *where, int image_width, int image_height, struct cohort_error *err);
/* CTC greedy decoding of [1,T,classes]: class 0 blank, then keys, last class a space. *text is new. */
enum cohort_code text_decode(char **text, float *score, const struct tensor *logits, const struct labels *keys, struct cohort_error *err);

#endif
