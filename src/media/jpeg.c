/* Reading JPEG with libjpeg.  Its errors come back by longjmp and become ours; damage that libjpeg
 * would paint over in grey (a truncated file, broken codes) is an error too. */
#include "media/codec.h"

#include <setjmp.h>
#include <stdio.h>
#include <string.h>

#include <jerror.h>
#include <jpeglib.h>

#define SCANS_MAX 1000 /* a progressive file of a few KB may ask for days of work */

struct jpeg_job {
    struct jpeg_decompress_struct decompress;
    struct jpeg_error_mgr manager;
    struct jpeg_progress_mgr progress;
    jmp_buf leave;
    const unsigned char *data;
    size_t bytes;
    const char *path;
    struct image image;
    uint8_t *inks; /* one row of a CMYK image, from libjpeg's own pool */
    enum cohort_code code;
    struct cohort_error *err;
};

bool jpeg_is(const unsigned char *data, size_t bytes) {
    return bytes >= 3 && memcmp(data, "\xff\xd8\xff", 3) == 0;
}

/* What the standard knows and this libjpeg, or Cohort, does not. */
static bool is_unsupported(int message) {
    return message == JERR_BAD_PRECISION || message == JERR_SOF_UNSUPPORTED ||
           message == JERR_CONVERSION_NOTIMPL || message == JERR_ARITH_NOTIMPL ||
           message == JERR_IMAGE_TOO_BIG;
}

static _Noreturn void leave(j_common_ptr common) {
    struct jpeg_job *job = common->client_data;
    char text[JMSG_LENGTH_MAX];
    int message = common->err->msg_code;
    common->err->format_message(common, text);
    if (message == JERR_OUT_OF_MEMORY)
        job->code = error_set(job->err, COHORT_ERR_MEMORY, "%s: JPEG image: %s", job->path, text);
    else if (is_unsupported(message))
        job->code = error_set(job->err, COHORT_ERR_UNSUPPORTED,
                              "%s: a JPEG image of a kind that is not read: %s", job->path, text);
    else
        job->code =
            error_set(job->err, COHORT_ERR_FORMAT, "%s: damaged JPEG image: %s", job->path, text);
    longjmp(job->leave, 1);
}

/* Level -1 is a warning.  Those about missing or wrong pixels end the decoding; odd extra bytes and
 * headers, which many cameras write, do not. */
static void on_message(j_common_ptr common, int level) {
    struct jpeg_job *job = common->client_data;
    if (level >= 0)
        return;
    switch (common->err->msg_code) {
    case JWRN_JPEG_EOF:
        job->code = error_set(job->err, COHORT_ERR_FORMAT, "%s: truncated JPEG image", job->path);
        longjmp(job->leave, 1);
    case JWRN_HIT_MARKER:
    case JWRN_HUFF_BAD_CODE:
    case JWRN_MUST_RESYNC:
    case JWRN_BOGUS_PROGRESSION:
        leave(common);
    default:
        break;
    }
}

static void on_text(j_common_ptr common) {
    (void)common; /* libjpeg would print to stderr */
}

static void on_progress(j_common_ptr common) {
    struct jpeg_job *job = common->client_data;
    if (common->is_decompressor && job->decompress.input_scan_number > SCANS_MAX) {
        job->code = error_set(job->err, COHORT_ERR_FORMAT,
                              "%s: damaged JPEG image: more than %d scans", job->path, SCANS_MAX);
        longjmp(job->leave, 1);
    }
}

/* Adobe's files, the only ones seen, hold inks inverted: 255 is no ink. */
static void cmyk_to_rgb(uint8_t *rgb, const uint8_t *cmyk, int width, bool inverted) {
    for (int x = 0; x < width; x++) {
        const uint8_t *ink = cmyk + (size_t)x * 4;
        unsigned k = inverted ? ink[3] : 255U - ink[3];
        for (int c = 0; c < 3; c++) {
            unsigned v = inverted ? ink[c] : 255U - ink[c];
            rgb[(size_t)x * 3 + (size_t)c] = (uint8_t)((v * k + 127) / 255);
        }
    }
}

static void read_rows(struct jpeg_job *job) {
    struct jpeg_decompress_struct *d = &job->decompress;
    bool inks = d->out_color_space == JCS_CMYK;
    while (d->output_scanline < d->output_height) {
        uint8_t *row = job->image.pixels + (size_t)d->output_scanline * d->output_width * 3;
        JSAMPROW target = inks ? job->inks : row;
        jpeg_read_scanlines(d, &target, 1);
        if (inks)
            cmyk_to_rgb(row, job->inks, job->image.width, d->saw_Adobe_marker);
    }
}

/* Runs under the setjmp() of run(): everything that must survive is in the job. */
static void decode(struct jpeg_job *job) {
    struct jpeg_decompress_struct *d = &job->decompress;
    jpeg_create_decompress(d);
    d->client_data = job;
    d->progress = &job->progress;
    job->progress.progress_monitor = on_progress;
    jpeg_mem_src(d, job->data, (unsigned long)job->bytes);
    jpeg_save_markers(d, JPEG_APP0 + 1, 0xffff);
    jpeg_read_header(d, TRUE);
    job->code = image_check_size(d->image_width, d->image_height, job->path, job->err);
    if (job->code != COHORT_OK)
        return;
    bool inks = d->jpeg_color_space == JCS_CMYK || d->jpeg_color_space == JCS_YCCK;
    d->out_color_space = inks ? JCS_CMYK : JCS_RGB;
    d->dct_method = JDCT_ISLOW; /* the exact one, everywhere the same */
    jpeg_start_decompress(d);
    job->code = image_init(&job->image, (int)d->output_width, (int)d->output_height, job->err);
    if (job->code != COHORT_OK)
        return;
    if (inks)
        job->inks = d->mem->alloc_large((j_common_ptr)d, JPOOL_IMAGE, (size_t)d->output_width * 4);
    read_rows(job);
    int orientation = 1;
    for (jpeg_saved_marker_ptr m = d->marker_list; m && orientation == 1; m = m->next)
        orientation = exif_orientation(m->data, m->data_length);
    jpeg_finish_decompress(d); /* reads on to the end mark: a file without it is truncated */
    job->code = image_orient(&job->image, orientation, job->err);
}

/* The job lies outside of the function with the setjmp(), so what it holds after the jump is
 * certain. */
static void run(struct jpeg_job *job) {
    if (setjmp(job->leave) == 0)
        decode(job);
}

enum cohort_code jpeg_read(struct image *im, const unsigned char *data, size_t bytes,
                           const char *path, struct cohort_error *err) {
    struct jpeg_job job = {.data = data, .bytes = bytes, .path = path, .err = err};
    job.decompress.err = jpeg_std_error(&job.manager);
    job.decompress.client_data = &job;
    job.manager.error_exit = leave;
    job.manager.emit_message = on_message;
    job.manager.output_message = on_text;
    run(&job);
    jpeg_destroy_decompress(&job.decompress);
    if (job.code != COHORT_OK) {
        image_release(&job.image);
        return job.code;
    }
    *im = job.image;
    return COHORT_OK;
}
