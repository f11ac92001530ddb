/* Pictures and arrays: reading, preparing them for a network, and showing results on them.
 *
 * Knows nothing of graphs, MPI or boards; used by the command line.  All functions are local. */
#ifndef COHORT_MEDIA_MEDIA_H
#define COHORT_MEDIA_MEDIA_H

#include "base/error.h"
#include "graph/pixels.h"
#include "graph/tensor.h"

struct image { /* 8-bit RGB, [height][width][3] */
    int width, height;
    uint8_t *pixels;
};

/* JPEG or PNG by content; grey, palette, alpha (over white), CMYK and 16 bit are converted, and the
 * orientation that a camera noted is applied.  Errors: io, format ("cat.txt: not a JPEG or PNG
 * image", truncated, damaged), unsupported (over 100 megapixels), memory. */
enum cohort_code image_load(struct image *im, const char *path, struct cohort_error *err);
/* Replaces the file as a whole.  Errors: io, memory. */
enum cohort_code image_save_png(const struct image *im, const char *path, struct cohort_error *err);
/* A black image. */
enum cohort_code image_init(struct image *im, int width, int height, struct cohort_error *err);
void image_release(struct image *im);
/* Bilinear with area averaging when shrinking (antialiased), as Pillow's BILINEAR; half-pixel
 * centres. */
enum cohort_code image_resize(struct image *out, const struct image *in, int width, int height,
                              struct cohort_error *err);
/* Errors: shape (not inside the image). */
enum cohort_code image_crop(struct image *out, const struct image *in, int x, int y, int width,
                            int height, struct cohort_error *err);
/* The quadrilateral of `in` with corners (x,y) clockwise from top left, straightened to
 * width x height.  Errors: shape (not convex). */
enum cohort_code image_warp(struct image *out, const struct image *in, const float corners[8],
                            int width, int height, struct cohort_error *err);
void image_draw_line(struct image *im, int x0, int y0, int x1, int y1, int thickness,
                     const uint8_t rgb[3]);
void image_draw_rectangle(struct image *im, int x0, int y0, int x1, int y1, int thickness,
                          const uint8_t rgb[3]);
/* Plain text in a built-in bitmap font (ASCII 32..126), `scale` times 5x7 pixels, with a background
 * box whose top left is (x, y). */
void image_draw_text(struct image *im, int x, int y, int scale, const char *text,
                     const uint8_t rgb[3], const uint8_t background[3]);

/* A network's output as a picture: [1,C,H,W], [C,H,W], [1,H,W,C] or [H,W,C] with 1 or 3 channels,
 * or [H,W].  Values within 0..1 are stretched to 0..255, within 0..255 taken as they are, any
 * others from their least to their greatest.  Errors: shape, memory. */
enum cohort_code image_from_tensor(struct image *im, const struct tensor *t,
                                   struct cohort_error *err);

/* .npy (format 1.0 to 3.0): numbers and bool, either byte order; Fortran order is converted.
 * Errors: io, format (damaged, truncated), unsupported (records, texts, complex numbers), memory.
 */
enum cohort_code npy_load(struct tensor *t, const char *path, struct cohort_error *err);
/* Little-endian, C order; bfloat16 as float32.  Replaces the file as a whole. */
enum cohort_code npy_save(const struct tensor *t, const char *path, struct cohort_error *err);

/* ---- preprocessing -------------------------------------------------------------------------- */

enum fit_mode {
    FIT_STRETCH,   /* to the input's size, ignoring the aspect ratio */
    FIT_CROP,      /* short side to `resize_short` (or the input's size), centre crop */
    FIT_LETTERBOX, /* whole image inside, rest filled with `fill`; top left or centred */
};
struct preprocess {
    enum fit_mode fit;
    int resize_short; /* FIT_CROP: 0 = the input's short side; -1 = 8/7 of it (256 for 224) */
    bool centre;      /* FIT_LETTERBOX: centred instead of top left */
    float fill;       /* FIT_LETTERBOX, on the 0..255 scale */
    bool bgr;
    bool nhwc;   /* the input is [N,H,W,C] */
    float scale; /* value = (pixel*scale - mean[c]) / std[c], pixel 0..255; 0 means 1 */
    float mean[3],
        std[3]; /* c is the input's own channel: blue first with bgr; a std of 0 means 1 */
};
/* "imagenet" (short side 256 for 224, crop, /255, mean and std), "yolo" (letterbox, /255), "raw"
 * (stretch, 0..255), "yolox", "caffe", "tensorflow", "ppocr-det", "ppocr-rec".
 * false: unknown name. */
bool preprocess_preset(struct preprocess *p, const char *name);
const char *const *preprocess_presets(int *count);

/* The part of it that is about numbers. */
struct pixel_scale preprocess_scale(const struct preprocess *p);

/* How the image was placed in the input, to map boxes back: input = image*scale + offset. */
struct placement {
    float scale_x, scale_y, offset_x, offset_y;
};
/* Fills *t (a new float32 [1,3,H,W], [1,H,W,3] or [1,1,H,W] by `channels`) from the image; `where`
 * may be NULL.  Errors: shape, memory. */
enum cohort_code preprocess_image(struct tensor *t, struct placement *where, const struct image *im,
                                  const struct preprocess *p, int channels, int height, int width,
                                  struct cohort_error *err);

/* The same before bytes become numbers: uint8 [1,H,W,C].  Grey is rounded to whole levels, by the
 * weights of ITU-R BT.601, as Pillow's "L" is.  *exact: these bytes stand for just those numbers;
 * not so where the fill shows and is no whole number. */
enum cohort_code preprocess_pixels(struct tensor *t, bool *exact, struct placement *where,
                                   const struct image *im, const struct preprocess *p, int channels,
                                   int height, int width, struct cohort_error *err);
/* Bytes [N,H,W,C] to a new float32 [N,C,H,W], or [N,H,W,C]. */
enum cohort_code pixels_to_numbers(struct tensor *t, const struct tensor *pixels,
                                   const struct pixel_scale *scale, bool channels_last,
                                   struct cohort_error *err);

/* ---- results -------------------------------------------------------------------------------- */

struct labels {
    char **names;
    int count;
};
/* One label a line (UTF-8); nothing but the line's end is cut off, so a blank can be a label. */
enum cohort_code labels_load(struct labels *l, const char *path, struct cohort_error *err);
void labels_release(struct labels *l);

struct ranked {
    int index;
    float score;
};
/* The k best of n scores, best first, ties by index; softmaxed first when they are not
 * probabilities (all in [0,1] with sum within 1e-2 of 1).  NaN is never among them.  Returns how
 * many. */
int top_k(const float *scores, int n, int k, struct ranked *out);

struct box { /* pixels of the original image */
    float x0, y0, x1, y1, score;
    int label;
};
enum box_head { BOX_AUTO, BOX_YOLOV2, BOX_YOLOV5, BOX_YOLOV8, BOX_YOLOX, BOX_YOLOV3 };
struct box_options {
    enum box_head head;
    float confidence, iou; /* 0: 0.25 and 0.45 */
    int input_width, input_height;
    /* Width and height pairs: YOLOv2's in grid cells, v3's and v5's (three a stride) in pixels;
     * NULL: COCO's. */
    const float *anchors;
    int anchor_count;       /* pairs */
    struct placement where; /* all zero: the image was stretched to the input */
    int image_width, image_height;
};
/* Decodes a detector's output tensor and keeps the best boxes by non-maximum suppression per class:
 * YOLOv2 [1,A*(5+C),H,W]; YOLOv3 and raw YOLOv5 [1,3*(5+C),H,W], [1,3,H,W,5+C]; YOLOv5 [1,N,5+C];
 * YOLOv8 [1,4+C,N]; YOLOX [1,N,5+C].  *boxes is new (mem_free), best first, within the image.
 * Errors: shape (the output fits no known head, naming its shape), memory. */
enum cohort_code boxes_decode(struct box **boxes, int *count, const struct tensor *output,
                              const struct box_options *o, struct cohort_error *err);
/* The same for a network with an output per stride. */
enum cohort_code boxes_decode_many(struct box **boxes, int *count,
                                   const struct tensor *const *outputs, int output_count,
                                   const struct box_options *o, struct cohort_error *err);
/* Sorts n boxes best first and keeps, at the front, those that no better box of the same label
 * covers with an intersection over union above `iou`.  Returns how many. */
int boxes_suppress(struct box *boxes, int n, float iou);
/* labels may be NULL. */
void boxes_draw(struct image *im, const struct box *boxes, int count, const struct labels *labels);

/* ---- text (PP-OCR style detector and recogniser) -------------------------------------------- */

struct text_region { /* clockwise from top left, image pixels */
    float corners[8];
    float score;
};
/* Differentiable-binarisation map [1,1,H,W] of probabilities to regions: threshold, components,
 * minimum-area rectangles, unclip by area*ratio/perimeter; in reading order (top to bottom, left to
 * right).  `where` is how the image was placed in the map (NULL: one to one).  Errors: shape,
 * memory. */
enum cohort_code text_regions(struct text_region **regions, int *count, const struct tensor *map,
                              const struct placement *where, int image_width, int image_height,
                              struct cohort_error *err);
void text_regions_draw(struct image *im, const struct text_region *regions, int count);
/* CTC greedy decoding of [1,T,classes]: class 0 blank, then keys, last class a space (or none).
 * *text is new (UTF-8); *score (may be NULL) the mean probability of the characters kept, 0 when
 * there is none.  Errors: shape, memory. */
enum cohort_code text_decode(char **text, float *score, const struct tensor *logits,
                             const struct labels *keys, struct cohort_error *err);

#endif
