/* Images in memory: making, cropping, turning upright, and finding out what a file is. */
#include "media/media.h"

#include "base/file.h"
#include "base/mem.h"
#include "media/codec.h"

#include <inttypes.h>
#include <string.h>

enum cohort_code image_check_size(uint64_t width, uint64_t height, const char *path,
                                  struct cohort_error *err) {
    if (width == 0 || height == 0)
        return error_set(err, COHORT_ERR_FORMAT, "%s: an image of %" PRIu64 "x%" PRIu64 " pixels",
                         path, width, height);
    if (width > IMAGE_PIXELS_MAX || height > IMAGE_PIXELS_MAX / width)
        return error_set(err, COHORT_ERR_UNSUPPORTED,
                         "%s: an image of %" PRIu64 "x%" PRIu64
                         " pixels; at most 100 megapixels are read",
                         path, width, height);
    return COHORT_OK;
}

enum cohort_code image_init(struct image *im, int width, int height, struct cohort_error *err) {
    enum cohort_code code = image_check_size((uint64_t)(width < 0 ? 0 : width),
                                             (uint64_t)(height < 0 ? 0 : height), "new image", err);
    if (code != COHORT_OK)
        return code;
    size_t bytes = (size_t)width * (size_t)height * 3;
    uint8_t *pixels = mem_zalloc(bytes, 1);
    if (!pixels)
        return error_memory(err, bytes, "an image");
    *im = (struct image){.width = width, .height = height, .pixels = pixels};
    return COHORT_OK;
}

void image_release(struct image *im) {
    mem_free(im->pixels);
    *im = (struct image){0};
}

enum cohort_code image_load(struct image *im, const char *path, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct file_map map = {0};
    TRY(file_map(&map, path, err));
    if (jpeg_is(map.data, map.bytes))
        TRY(jpeg_read(im, map.data, map.bytes, path, err));
    else if (png_is(map.data, map.bytes))
        TRY(png_read(im, map.data, map.bytes, path, err));
    else
        code = error_set(err, COHORT_ERR_FORMAT, "%s: not a JPEG or PNG image%s", path,
                         map.bytes ? "" : " (empty)");
out:
    file_unmap(&map);
    return code;
}

enum cohort_code image_crop(struct image *out, const struct image *in, int x, int y, int width,
                            int height, struct cohort_error *err) {
    struct image crop = {0};
    if (x < 0 || y < 0 || width <= 0 || height <= 0 || width > in->width - x ||
        height > in->height - y)
        return error_set(err, COHORT_ERR_SHAPE,
                         "a crop of %dx%d at (%d,%d) is not inside an image of %dx%d", width,
                         height, x, y, in->width, in->height);
    enum cohort_code code = image_init(&crop, width, height, err);
    if (code != COHORT_OK)
        return code;
    size_t row = (size_t)width * 3;
    for (int i = 0; i < height; i++)
        memcpy(crop.pixels + (size_t)i * row,
               in->pixels + ((size_t)(y + i) * (size_t)in->width + (size_t)x) * 3, row);
    *out = crop;
    return COHORT_OK;
}

/* ---- EXIF ----------------------------------------------------------------------------------- */

/* Numbers of a TIFF block, in its own byte order; 0 beyond the end. */
struct tiff {
    const unsigned char *data;
    size_t bytes;
    bool big;
};

static unsigned tiff_u16(const struct tiff *t, size_t at) {
    if (at > t->bytes || t->bytes - at < 2)
        return 0;
    unsigned a = t->data[at], b = t->data[at + 1];
    return t->big ? a << 8 | b : b << 8 | a;
}

static size_t tiff_u32(const struct tiff *t, size_t at) {
    size_t a = tiff_u16(t, at), b = tiff_u16(t, at + 2);
    return t->big ? a << 16 | b : b << 16 | a;
}

int exif_orientation(const unsigned char *data, size_t bytes) {
    enum { HEADER = 6, ENTRY = 12, TAG_ORIENTATION = 274, TYPE_SHORT = 3 };
    if (bytes < HEADER + 8 || memcmp(data, "Exif\0", 5) != 0)
        return 1;
    struct tiff t = {.data = data + HEADER, .bytes = bytes - HEADER};
    t.big = t.data[0] == 'M';
    if (memcmp(t.data, t.big ? "MM" : "II", 2) != 0 || tiff_u16(&t, 2) != 42)
        return 1;
    size_t directory = tiff_u32(&t, 4);
    if (directory > t.bytes)
        return 1;
    unsigned entries = tiff_u16(&t, directory);
    for (unsigned i = 0; i < entries; i++) {
        size_t entry = directory + 2 + (size_t)i * ENTRY;
        if (entry > t.bytes || t.bytes - entry < ENTRY)
            break;
        if (tiff_u16(&t, entry) != TAG_ORIENTATION || tiff_u16(&t, entry + 2) != TYPE_SHORT)
            continue;
        unsigned v = tiff_u16(&t, entry + 8);
        return v >= 1 && v <= 8 ? (int)v : 1;
    }
    return 1;
}

/* EXIF 2.3, 4.6.4: 2 mirrored, 3 turned by 180, 4 both; 5 to 8 the same of the transposed image. */
enum cohort_code image_orient(struct image *im, int orientation, struct cohort_error *err) {
    struct image up = {0};
    if (orientation <= 1 || orientation > 8)
        return COHORT_OK;
    bool transpose = orientation >= 5;
    bool flip_x = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
    bool flip_y = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
    enum cohort_code code = image_init(&up, transpose ? im->height : im->width,
                                       transpose ? im->width : im->height, err);
    if (code != COHORT_OK)
        return code;
    for (int y = 0; y < up.height; y++) {
        for (int x = 0; x < up.width; x++) {
            int sx = transpose ? y : x, sy = transpose ? x : y; /* in the stored image */
            if (flip_x)
                sx = im->width - 1 - sx;
            if (flip_y)
                sy = im->height - 1 - sy;
            memcpy(up.pixels + ((size_t)y * (size_t)up.width + (size_t)x) * 3,
                   im->pixels + ((size_t)sy * (size_t)im->width + (size_t)sx) * 3, 3);
        }
    }
    image_release(im);
    *im = up;
    return COHORT_OK;
}
