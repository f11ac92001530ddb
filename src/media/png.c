/* Reading and writing PNG with libpng.  Its errors come back by longjmp and become ours; its memory
 * is base/mem's. */
#include "media/codec.h"

#include "base/buf.h"
#include "base/file.h"
#include "base/mem.h"

#include <setjmp.h>
#include <string.h>

#include <png.h>

struct png_job {
    png_structp png;
    png_infop info;
    jmp_buf leave;
    const unsigned char *data, *end; /* what is still to be read */
    struct buf written;
    const char *path;
    struct image image;
    uint8_t *rgba; /* rows with alpha */
    enum cohort_code code;
    struct cohort_error *err;
};

bool png_is(const unsigned char *data, size_t bytes) {
    return bytes >= 8 && memcmp(data, "\x89PNG\r\n\x1a\n", 8) == 0;
}

static void on_error(png_structp png, png_const_charp text) {
    struct png_job *job = png_get_error_ptr(png);
    bool memory = strstr(text, "emory") != NULL; /* "Out of memory", "Insufficient memory …" */
    job->code = error_set(job->err, memory ? COHORT_ERR_MEMORY : COHORT_ERR_FORMAT, "%s: %s: %s",
                          job->path, memory ? "PNG image" : "damaged PNG image", text);
    longjmp(job->leave, 1);
}

static void on_warning(png_structp png, png_const_charp text) {
    (void)png; /* about colour profiles and the like: not about pixels */
    (void)text;
}

static void on_read(png_structp png, png_bytep out, size_t bytes) {
    struct png_job *job = png_get_io_ptr(png);
    if ((size_t)(job->end - job->data) < bytes) {
        job->code = error_set(job->err, COHORT_ERR_FORMAT, "%s: truncated PNG image", job->path);
        longjmp(job->leave, 1);
    }
    memcpy(out, job->data, bytes);
    job->data += bytes;
}

static void on_write(png_structp png, png_bytep data, size_t bytes) {
    struct png_job *job = png_get_io_ptr(png);
    buf_bytes(&job->written, data, bytes);
    if (job->written.failed) {
        job->code = error_memory(job->err, bytes, job->path);
        longjmp(job->leave, 1);
    }
}

static void on_flush(png_structp png) {
    (void)png;
}

static png_voidp on_alloc(png_structp png, png_alloc_size_t bytes) {
    (void)png;
    return mem_alloc(bytes);
}

static void on_free(png_structp png, png_voidp block) {
    (void)png;
    mem_free(block);
}

/* The job lies outside of the function with the setjmp(), so what it holds after the jump is
 * certain. */
static void run(struct png_job *job, void (*work)(struct png_job *)) {
    if (setjmp(job->leave) == 0)
        work(job);
}

/* Whatever the file holds becomes 8-bit RGB or RGBA. */
static bool choose_format(struct png_job *job) {
    png_structp png = job->png;
    int type = png_get_color_type(png, job->info);
    bool alpha = (type & PNG_COLOR_MASK_ALPHA) || png_get_valid(png, job->info, PNG_INFO_tRNS);
    if (png_get_bit_depth(png, job->info) == 16)
        png_set_scale_16(png); /* rounded; png_set_strip_16 would cut */
    png_set_expand(png);
    if (!(type & PNG_COLOR_MASK_COLOR))
        png_set_gray_to_rgb(png);
    return alpha;
}

static void over_white(uint8_t *rgb, const uint8_t *rgba, int width) {
    for (size_t x = 0; x < (size_t)width; x++) {
        unsigned a = rgba[x * 4 + 3];
        for (size_t c = 0; c < 3; c++)
            rgb[x * 3 + c] = (uint8_t)((rgba[x * 4 + c] * a + 255 * (255 - a) + 127) / 255);
    }
}

/* Alpha of a plain file is removed row by row; an interlaced one comes in seven passes over all
 * rows. */
static void read_rows(struct png_job *job, bool alpha, int passes) {
    size_t width = (size_t)job->image.width, height = (size_t)job->image.height;
    size_t pitch = width * (alpha ? 4 : 3);
    bool whole = alpha && passes > 1;
    if (alpha) {
        job->rgba = mem_zalloc(whole ? height : 1, pitch);
        if (!job->rgba) {
            job->code = error_memory(job->err, pitch * (whole ? height : 1), job->path);
            longjmp(job->leave, 1);
        }
    }
    for (int pass = 0; pass < passes; pass++) {
        for (size_t y = 0; y < height; y++) {
            uint8_t *rgb = job->image.pixels + y * width * 3;
            uint8_t *row = alpha ? job->rgba + (whole ? y * pitch : 0) : rgb;
            png_read_row(job->png, row, NULL);
            if (alpha && pass == passes - 1)
                over_white(rgb, row, job->image.width);
        }
    }
}

/* Runs under the setjmp() of run(): everything that must survive is in the job. */
static void decode(struct png_job *job) {
    job->png = png_create_read_struct_2(PNG_LIBPNG_VER_STRING, job, on_error, on_warning, NULL,
                                        on_alloc, on_free);
    job->info = job->png ? png_create_info_struct(job->png) : NULL;
    if (!job->info) {
        job->code = error_memory(job->err, 0, job->path);
        return;
    }
    png_set_read_fn(job->png, job, on_read);
    png_set_user_limits(job->png, IMAGE_PIXELS_MAX, IMAGE_PIXELS_MAX);
    png_read_info(job->png, job->info);
    png_uint_32 width = png_get_image_width(job->png, job->info),
                height = png_get_image_height(job->png, job->info);
    job->code = image_check_size(width, height, job->path, job->err);
    if (job->code != COHORT_OK)
        return;
    bool alpha = choose_format(job);
    int passes = png_set_interlace_handling(job->png);
    png_read_update_info(job->png, job->info);
    if (png_get_rowbytes(job->png, job->info) != (size_t)width * (alpha ? 4 : 3))
        png_error(job->png, "an unknown kind of pixels");
    job->code = image_init(&job->image, (int)width, (int)height, job->err);
    if (job->code != COHORT_OK)
        return;
    read_rows(job, alpha, passes);
    png_read_end(job->png, NULL);
}

enum cohort_code png_read(struct image *im, const unsigned char *data, size_t bytes,
                          const char *path, struct cohort_error *err) {
    struct png_job job = {.data = data, .end = data + bytes, .path = path, .err = err};
    run(&job, decode);
    png_destroy_read_struct(&job.png, &job.info, NULL);
    mem_free(job.rgba);
    if (job.code != COHORT_OK) {
        image_release(&job.image);
        return job.code;
    }
    *im = job.image;
    return COHORT_OK;
}

static void encode(struct png_job *job) {
    job->png = png_create_write_struct_2(PNG_LIBPNG_VER_STRING, job, on_error, on_warning, NULL,
                                         on_alloc, on_free);
    job->info = job->png ? png_create_info_struct(job->png) : NULL;
    if (!job->info) {
        job->code = error_memory(job->err, 0, job->path);
        return;
    }
    png_set_write_fn(job->png, job, on_write, on_flush);
    png_set_user_limits(job->png, IMAGE_PIXELS_MAX, IMAGE_PIXELS_MAX);
    png_set_IHDR(job->png, job->info, (png_uint_32)job->image.width, (png_uint_32)job->image.height,
                 8, PNG_COLOR_TYPE_RGB, PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT,
                 PNG_FILTER_TYPE_DEFAULT);
    png_write_info(job->png, job->info);
    for (int y = 0; y < job->image.height; y++)
        png_write_row(job->png, job->image.pixels + (size_t)y * (size_t)job->image.width * 3);
    png_write_end(job->png, job->info);
}

enum cohort_code image_save_png(const struct image *im, const char *path,
                                struct cohort_error *err) {
    struct png_job job = {.path = path, .image = *im, .err = err};
    run(&job, encode);
    png_destroy_write_struct(&job.png, &job.info);
    if (job.code == COHORT_OK)
        job.code = file_replace(path, job.written.data, job.written.size, err);
    buf_release(&job.written);
    return job.code;
}
