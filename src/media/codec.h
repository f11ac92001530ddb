/* The two picture formats behind image_load() and image_save_png().  For src/media only. */
#ifndef COHORT_MEDIA_CODEC_H
#define COHORT_MEDIA_CODEC_H

#include "media/media.h"

#define IMAGE_PIXELS_MAX 100000000 /* 100 megapixels */

/* false, with an error that names the path, when such an image is empty or too large. */
enum cohort_code image_check_size(uint64_t width, uint64_t height, const char *path,
                                  struct cohort_error *err);

bool jpeg_is(const unsigned char *data, size_t bytes);
bool png_is(const unsigned char *data, size_t bytes);
/* data is the whole file, path its name for messages. */
enum cohort_code jpeg_read(struct image *im, const unsigned char *data, size_t bytes,
                           const char *path, struct cohort_error *err);
enum cohort_code png_read(struct image *im, const unsigned char *data, size_t bytes,
                          const char *path, struct cohort_error *err);

/* The orientation (1 to 8, TIFF tag 274) that an EXIF block says; 1 when it says none or is
 * damaged. `data` begins with "Exif\0\0". */
int exif_orientation(const unsigned char *data, size_t bytes);
/* Turns and mirrors the image upright. */
enum cohort_code image_orient(struct image *im, int orientation, struct cohort_error *err);

#endif
