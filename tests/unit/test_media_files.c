/* Reading and writing pictures: every kind of PNG and JPEG, files cut anywhere, files with noise in
 * them, files that are no pictures, and failing memory. */
#include "base/mem.h"
#include "media/codec.h"
#include "tests/support/leaks.h"
#include "tests/support/testdir.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jpeglib.h>
#include <png.h>

static struct cohort_error err;

/* ---- files made by the libraries themselves -------------------------------------------------- */

struct picture {
    int width, height, depth, type, channels;
    bool interlaced;
    const uint8_t *rows; /* as libpng wants them: packed, 16 bit big-endian */
    size_t pitch;
};

/* Two greys, a blue and a red; the palette of the palette pictures. */
static const png_color palette[4] = {{0, 0, 0}, {200, 200, 200}, {10, 20, 250}, {255, 0, 7}};

static const char *write_png(const char *name, const struct picture *p, bool transparent) {
    const char *path = test_path(name);
    FILE *f = fopen(path, "wb");
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
    png_infop info = png_create_info_struct(png);
    assert_non_null(f);
    assert_non_null(info);
    if (setjmp(png_jmpbuf(png)))
        abort();
    png_init_io(png, f);
    png_set_IHDR(png, info, (png_uint_32)p->width, (png_uint_32)p->height, p->depth, p->type,
                 p->interlaced ? PNG_INTERLACE_ADAM7 : PNG_INTERLACE_NONE,
                 PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    if (p->type == PNG_COLOR_TYPE_PALETTE) {
        png_set_PLTE(png, info, palette, 4);
        if (transparent)
            png_set_tRNS(png, info, (png_bytep)(uint8_t[]){0, 255, 128, 255}, 4, NULL);
    } else if (transparent) { /* this grey or colour is not there */
        png_set_tRNS(png, info, NULL, 0,
                     &(png_color_16){.gray = 1, .red = 1, .green = 2, .blue = 3});
    }
    png_write_info(png, info);
    int passes = png_set_interlace_handling(png);
    for (int pass = 0; pass < passes; pass++) {
        for (int y = 0; y < p->height; y++)
            png_write_row(png, (png_bytep)(uintptr_t)(p->rows + (size_t)y * p->pitch));
    }
    png_write_end(png, info);
    png_destroy_write_struct(&png, &info);
    assert_int_equal(fclose(f), 0);
    return path;
}

struct bytes {
    unsigned char *data;
    unsigned long count;
};

struct jpeg_kind {
    J_COLOR_SPACE in, stored;
    int components, quality;
    bool progressive;
    int orientation; /* 0: no EXIF */
    bool big_endian;
};

static void write_exif(struct jpeg_compress_struct *c, const struct jpeg_kind *k) {
    unsigned char exif[] = "Exif\0\0MM\0*\0\0\0\x08\0\x02"
                           "\x01\x0f\0\x02\0\0\0\x02x\0\0\0"
                           "\x01\x12\0\x03\0\0\0\x01\0\0\0\0\0\0\0\0";
    exif[16 + 12 + 9] = (unsigned char)k->orientation;
    if (!k->big_endian) {
        static const unsigned char little[] = "Exif\0\0II*\0\x08\0\0\0\x02\0"
                                              "\x0f\x01\x02\0\x02\0\0\0x\0\0\0"
                                              "\x12\x01\x03\0\x01\0\0\0\0\0\0\0\0\0\0\0";
        memcpy(exif, little, sizeof exif);
        exif[16 + 12 + 8] = (unsigned char)k->orientation;
    }
    jpeg_write_marker(c, JPEG_APP0 + 1, exif, sizeof exif - 1);
}

static struct bytes make_jpeg(const struct jpeg_kind *k, int width, int height,
                              const uint8_t *rows) {
    struct jpeg_compress_struct c;
    struct jpeg_error_mgr manager;
    struct bytes b = {0};
    c.err = jpeg_std_error(&manager);
    jpeg_create_compress(&c);
    jpeg_mem_dest(&c, &b.data, &b.count);
    c.image_width = (JDIMENSION)width;
    c.image_height = (JDIMENSION)height;
    c.input_components = k->components;
    c.in_color_space = k->in;
    jpeg_set_defaults(&c);
    jpeg_set_colorspace(&c, k->stored);
    jpeg_set_quality(&c, k->quality, TRUE);
    for (int i = 0; i < c.num_components; i++) /* no loss in the colours */
        c.comp_info[i].h_samp_factor = c.comp_info[i].v_samp_factor = 1;
    if (k->progressive)
        jpeg_simple_progression(&c);
    jpeg_start_compress(&c, TRUE);
    if (k->orientation)
        write_exif(&c, k);
    while (c.next_scanline < c.image_height) {
        JSAMPROW row = (JSAMPROW)(uintptr_t)(rows + (size_t)c.next_scanline * (size_t)width *
                                                        (size_t)k->components);
        jpeg_write_scanlines(&c, &row, 1);
    }
    jpeg_finish_compress(&c);
    jpeg_destroy_compress(&c);
    return b;
}

static const struct jpeg_kind plain_jpeg = {
    .in = JCS_RGB, .stored = JCS_YCbCr, .components = 3, .quality = 100};

/* ---- PNG ------------------------------------------------------------------------------------- */

static void expect_pixels(const char *path, int width, int height, const uint8_t *rgb) {
    struct image im = {0};
    error_clear(&err);
    enum cohort_code code = image_load(&im, path, &err);
    if (code != COHORT_OK)
        fail_msg("%s", err.message);
    assert_int_equal(im.width, width);
    assert_int_equal(im.height, height);
    assert_memory_equal(im.pixels, rgb, (size_t)width * (size_t)height * 3);
    image_release(&im);
}

static uint8_t blend(unsigned v, unsigned a) {
    return (uint8_t)((v * a + 255 * (255 - a) + 127) / 255);
}

/* 9x10 pixels: more than one Adam7 block. Each kind, interlaced and not. */
enum { PW = 9, PH = 10 };

static void png_colour(void **state) {
    (void)state;
    uint8_t rgb[PW * PH * 3], rgba[PW * PH * 4], deep[PW * PH * 8], over[PW * PH * 3];
    for (int i = 0; i < PW * PH; i++) {
        for (int c = 0; c < 3; c++)
            rgb[i * 3 + c] = rgba[i * 4 + c] = (uint8_t)(i * 29 + c * 71);
        rgba[i * 4 + 3] = (uint8_t)(i * 3);
        for (int c = 0; c < 3; c++)
            over[i * 3 + c] = blend(rgb[i * 3 + c], rgba[i * 4 + 3]);
        for (int c = 0; c < 4; c++) /* v*257 is the 16-bit number that stands for the 8-bit v */
            deep[i * 8 + c * 2] = deep[i * 8 + c * 2 + 1] = rgba[i * 4 + c];
    }
    for (int interlaced = 0; interlaced < 2; interlaced++) {
        struct picture p = {.width = PW, .height = PH, .depth = 8, .interlaced = interlaced};
        p.type = PNG_COLOR_TYPE_RGB, p.rows = rgb, p.pitch = PW * 3;
        expect_pixels(write_png("rgb.png", &p, false), PW, PH, rgb);
        p.type = PNG_COLOR_TYPE_RGB_ALPHA, p.rows = rgba, p.pitch = PW * 4;
        expect_pixels(write_png("rgba.png", &p, false), PW, PH, over);
        p.depth = 16, p.rows = deep, p.pitch = PW * 8;
        expect_pixels(write_png("rgba16.png", &p, false), PW, PH, over);
    }
    uint8_t marked[] = {1, 2, 3, 1, 2, 4}, white_there[] = {255, 255, 255, 1, 2, 4};
    struct picture p = {.width = 2,
                        .height = 1,
                        .depth = 8,
                        .type = PNG_COLOR_TYPE_RGB,
                        .rows = marked,
                        .pitch = 6};
    expect_pixels(write_png("trns.png", &p, true), 2, 1, white_there);
}

static void png_grey(void **state) {
    (void)state;
    for (int depth = 1; depth <= 16; depth *= 2) {
        for (int interlaced = 0; interlaced < 2; interlaced++) {
            for (int transparent = 0; transparent < 2; transparent++) {
                uint8_t rows[PW * PH * 2] = {0}, rgb[PW * PH * 3];
                size_t pitch = ((size_t)PW * (size_t)depth + 7) / 8;
                unsigned top = (1U << depth) - 1;
                for (int i = 0; i < PW * PH; i++) {
                    unsigned v = (unsigned)(i * 2657 + 1) & top, x = (unsigned)(i % PW),
                             y = (unsigned)(i / PW);
                    if (depth == 16) {
                        rows[2 * i] = (uint8_t)(v >> 8);
                        rows[2 * i + 1] = (uint8_t)v;
                    } else {
                        rows[y * pitch + x * (unsigned)depth / 8] |=
                            (uint8_t)(v << (8 - (unsigned)depth - x * (unsigned)depth % 8));
                    }
                    unsigned grey = transparent && v == 1 ? 255 : (v * 255 + top / 2) / top;
                    memset(rgb + 3 * i, (int)grey, 3);
                }
                struct picture p = {.width = PW,
                                    .height = PH,
                                    .depth = depth,
                                    .type = PNG_COLOR_TYPE_GRAY,
                                    .interlaced = interlaced,
                                    .rows = rows,
                                    .pitch = pitch};
                expect_pixels(write_png("grey.png", &p, transparent), PW, PH, rgb);
            }
        }
    }
    uint8_t pairs[] = {100, 255, 100, 0, 0, 128, 255, 1};
    uint8_t rgb[] = {100, 100, 100, 255, 255, 255, 127, 127, 127, 255, 255, 255};
    struct picture p = {.width = 4,
                        .height = 1,
                        .depth = 8,
                        .type = PNG_COLOR_TYPE_GRAY_ALPHA,
                        .rows = pairs,
                        .pitch = 8};
    expect_pixels(write_png("greya.png", &p, false), 4, 1, rgb);
}

static void png_palette(void **state) {
    (void)state;
    for (int depth = 2; depth <= 8; depth *= 2) {
        uint8_t row[4] = {0};
        for (int x = 0; x < 4; x++)
            row[x * depth / 8] |= (uint8_t)(x << (8 - depth - x * depth % 8));
        struct picture p = {.width = 4,
                            .height = 1,
                            .depth = depth,
                            .type = PNG_COLOR_TYPE_PALETTE,
                            .rows = row,
                            .pitch = 4};
        uint8_t rgb[12],
            over[12] = {
                255, 255, 255, 200, 200, 200, blend(10, 128), blend(20, 128), blend(250, 128),
                255, 0,   7};
        for (int i = 0; i < 4; i++)
            memcpy(rgb + 3 * i, &(uint8_t[]){palette[i].red, palette[i].green, palette[i].blue}, 3);
        expect_pixels(write_png("palette.png", &p, false), 4, 1, rgb);
        expect_pixels(write_png("palettet.png", &p, true), 4, 1, over);
    }
}

static void png_round_trip(void **state) {
    (void)state;
    struct image im = {0};
    assert_int_equal(image_init(&im, 37, 23, &err), COHORT_OK);
    for (int i = 0; i < 37 * 23 * 3; i++) {
        assert_int_equal(im.pixels[i], 0);
        im.pixels[i] = (uint8_t)(i * i + i / 7);
    }
    const char *path = test_path("saved.png");
    assert_int_equal(image_save_png(&im, path, &err), COHORT_OK);
    expect_pixels(path, 37, 23, im.pixels);
    assert_int_equal(image_save_png(&im, test_path("no/such/folder.png"), &err), COHORT_ERR_IO);
    image_release(&im);
    image_release(&im);
}

/* ---- JPEG ------------------------------------------------------------------------------------ */

enum { JW = 24, JH = 17 };

static void smooth_picture(uint8_t rgb[JW * JH * 3]) {
    for (int i = 0; i < JW * JH; i++) {
        rgb[3 * i] = (uint8_t)(i % JW * 10);
        rgb[3 * i + 1] = (uint8_t)(i / JW * 14);
        rgb[3 * i + 2] = (uint8_t)(255 - i % JW * 5 - i / JW * 4);
    }
}

static void expect_near(const struct image *im, const uint8_t *rgb, int tolerance,
                        const char *what) {
    for (int i = 0; i < im->width * im->height * 3; i++) {
        if (abs(im->pixels[i] - rgb[i]) > tolerance)
            fail_msg("byte %d is %d, not about %d (kind %s)", i, im->pixels[i], rgb[i], what);
    }
}

static void jpeg_kinds(void **state) {
    (void)state;
    uint8_t rgb[JW * JH * 3], grey[JW * JH], from_grey[JW * JH * 3], cmyk[JW * JH * 4];
    smooth_picture(rgb);
    for (int i = 0; i < JW * JH; i++) {
        grey[i] = rgb[3 * i];
        memset(from_grey + 3 * i, grey[i], 3);
        for (int c = 0; c < 3; c++) /* as Adobe stores it: 255 is no ink; black is not used */
            cmyk[4 * i + c] = rgb[3 * i + c];
        cmyk[4 * i + 3] = 255;
    }
    const struct {
        struct jpeg_kind kind;
        const uint8_t *in, *out;
    } table[] = {
        {plain_jpeg, rgb, rgb},
        {{.in = JCS_RGB, .stored = JCS_YCbCr, .components = 3, .quality = 100, .progressive = true},
         rgb,
         rgb},
        {{.in = JCS_RGB, .stored = JCS_RGB, .components = 3, .quality = 100}, rgb, rgb},
        {{.in = JCS_GRAYSCALE, .stored = JCS_GRAYSCALE, .components = 1, .quality = 100},
         grey,
         from_grey},
        {{.in = JCS_CMYK, .stored = JCS_CMYK, .components = 4, .quality = 100}, cmyk, rgb},
        {{.in = JCS_CMYK, .stored = JCS_YCCK, .components = 4, .quality = 100}, cmyk, rgb},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct bytes b = make_jpeg(&table[i].kind, JW, JH, table[i].in);
        struct image im = {0};
        assert_int_equal(image_load(&im, test_write("kind.jpg", b.data, b.count), &err), COHORT_OK);
        assert_int_equal(im.width, JW);
        assert_int_equal(im.height, JH);
        expect_near(&im, table[i].out, 4,
                    (const char *[]){"YCbCr", "progressive", "RGB", "grey", "CMYK", "YCCK"}[i]);
        image_release(&im);
        free(b.data);
    }
}

/* The stored picture is the upright one turned; every reader shows the upright one. */
static void jpeg_orientation(void **state) {
    (void)state;
    static const char *const stored[] = {/* 3x2 pixels that look like "abc/def" upright */
                                         "abcdef", "cbafed", "fedcba", "defabc",
                                         "adbecf", "cfbead", "fcebda", "daebfc"};
    enum { BLOCK = 8 };
    for (int o = 1; o <= 8; o++) {
        int w = o < 5 ? 3 : 2, h = o < 5 ? 2 : 3;
        uint8_t rows[6 * BLOCK * BLOCK];
        for (int i = 0; i < 6 * BLOCK * BLOCK; i++) {
            int x = i % (w * BLOCK) / BLOCK, y = i / (w * BLOCK) / BLOCK;
            rows[i] = (uint8_t)((stored[o - 1][y * w + x] - 'a') * 40 + 20);
        }
        for (int big = 0; big < 2; big++) {
            struct jpeg_kind k = {.in = JCS_GRAYSCALE,
                                  .stored = JCS_GRAYSCALE,
                                  .components = 1,
                                  .quality = 100,
                                  .orientation = o,
                                  .big_endian = big};
            struct bytes b = make_jpeg(&k, w * BLOCK, h * BLOCK, rows);
            struct image im = {0};
            assert_int_equal(image_load(&im, test_write("o.jpg", b.data, b.count), &err),
                             COHORT_OK);
            assert_int_equal(im.width, 3 * BLOCK);
            assert_int_equal(im.height, 2 * BLOCK);
            for (int i = 0; i < 6; i++) {
                int at = ((i / 3 * BLOCK + 4) * im.width + i % 3 * BLOCK + 4) * 3;
                assert_in_range(im.pixels[at], i * 40 + 18, i * 40 + 22);
            }
            image_release(&im);
            free(b.data);
        }
    }
}

static void exif_is_bounded(void **state) {
    (void)state;
    static const unsigned char good[] =
        "Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0";
    assert_int_equal(exif_orientation(good, sizeof good - 1), 6);
    for (size_t n = 0; n < sizeof good - 1; n++) {
        unsigned char *copy = mem_alloc(n);
        assert_non_null(copy);
        memcpy(copy, good, n);
        assert_int_equal(exif_orientation(copy, n), 1);
        mem_free(copy);
    }
    unsigned char bad[sizeof good];
    memcpy(bad, good, sizeof good);
    memset(bad + 10, 0xff, 4); /* the directory lies far outside */
    assert_int_equal(exif_orientation(bad, sizeof bad - 1), 1);
    memcpy(bad, good, sizeof good);
    bad[14] = bad[15] = 0xff; /* so many entries, the first of another tag */
    bad[16] = 0;
    assert_int_equal(exif_orientation(bad, sizeof bad - 1), 1);
    memcpy(bad, good, sizeof good);
    bad[24] = 9; /* no such orientation */
    assert_int_equal(exif_orientation(bad, sizeof bad - 1), 1);
}

/* ---- what is wrong --------------------------------------------------------------------------- */

static char *file_bytes(const char *path, size_t *count) {
    FILE *f = fopen(path, "rb");
    char *data = malloc(1 << 20);
    assert_non_null(f);
    assert_non_null(data);
    *count = fread(data, 1, 1 << 20, f);
    fclose(f);
    return data;
}

static void says(const char *path, enum cohort_code code, const char *words) {
    struct image im = {0};
    char expected[1200];
    error_clear(&err);
    assert_int_equal(image_load(&im, path, &err), code);
    snprintf(expected, sizeof expected, "%s: %s", path, words);
    assert_string_equal(err.message, expected);
    assert_int_equal(err.code, code);
    assert_null(im.pixels);
}

static void no_pictures(void **state) {
    (void)state;
    says(test_write("cat.txt", "meow", 4), COHORT_ERR_FORMAT, "not a JPEG or PNG image");
    says(test_write("empty.png", "", 0), COHORT_ERR_FORMAT, "not a JPEG or PNG image (empty)");
    says(test_write("short.jpg", "\xff\xd8", 2), COHORT_ERR_FORMAT, "not a JPEG or PNG image");
    says(test_write("onlystart.jpg", "\xff\xd8\xff\xe0", 4), COHORT_ERR_FORMAT,
         "truncated JPEG image");
    says(test_write("sig.png", "\x89PNG\r\n\x1a\n", 8), COHORT_ERR_FORMAT, "truncated PNG image");
    says(test_path("absent.png"), COHORT_ERR_IO, "cannot open: No such file or directory");
    /* 60000 x 60000: refused from the header alone */
    uint8_t rgb[JW * JH * 3] = {0};
    struct bytes b = make_jpeg(&plain_jpeg, JW, JH, rgb);
    for (unsigned long i = 0; i + 9 < b.count; i++) {
        if (b.data[i] == 0xff && b.data[i + 1] == 0xc0)
            memcpy(b.data + i + 5, "\xea\x60\xea\x60", 4);
    }
    says(test_write("huge.jpg", b.data, b.count), COHORT_ERR_UNSUPPORTED,
         "an image of 60000x60000 pixels; at most 100 megapixels are read");
    for (unsigned long i = 0; i + 9 < b.count; i++) {
        if (b.data[i] == 0xff && b.data[i + 1] == 0xc0)
            b.data[i + 1] = 0xc3; /* lossless */
    }
    struct image lossless = {0};
    assert_int_equal(image_load(&lossless, test_write("lossless.jpg", b.data, b.count), &err),
                     COHORT_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "lossless.jpg: a JPEG image of a kind that is not read: "));
    free(b.data);
    struct picture p = {
        .width = 3, .height = 1, .depth = 8, .type = PNG_COLOR_TYPE_RGB, .rows = rgb, .pitch = 9};
    size_t n;
    char *png = file_bytes(write_png("damaged.png", &p, false), &n);
    png[45] ^= 1; /* in the pixels' chunk: its checksum no longer fits */
    struct image im = {0};
    assert_int_equal(image_load(&im, test_write("damaged.png", png, n), &err), COHORT_ERR_FORMAT);
    assert_non_null(strstr(err.message, "damaged.png: damaged PNG image: "));
    free(png);
    assert_int_equal(image_init(&im, 0, 5, &err), COHORT_ERR_FORMAT);
    assert_int_equal(image_init(&im, 5, -1, &err), COHORT_ERR_FORMAT);
    assert_int_equal(image_init(&im, 10001, 10000, &err), COHORT_ERR_UNSUPPORTED);
}

typedef enum cohort_code read_fn(struct image *, const unsigned char *, size_t, const char *,
                                 struct cohort_error *);

/* Each prefix lies in a block of its own, so that a sanitizer sees reads beyond it. */
static void cut_everywhere(read_fn *read, const unsigned char *data, size_t count) {
    for (size_t n = 0; n < count; n++) {
        struct image im = {0};
        unsigned char *copy = malloc(n ? n : 1);
        assert_non_null(copy);
        memcpy(copy, data, n);
        error_clear(&err);
        assert_int_equal(read(&im, copy, n, "cut", &err), COHORT_ERR_FORMAT);
        assert_memory_equal(err.message, "cut: ", 5);
        assert_null(im.pixels);
        free(copy);
    }
}

/* Whatever the noise does: a picture or an error, never a crash. */
static void noise_everywhere(read_fn *read, const unsigned char *data, size_t count, int rounds) {
    unsigned seed = 7;
    unsigned char *copy = malloc(count);
    int refused = 0;
    assert_non_null(copy);
    for (int round = 0; round < rounds; round++) {
        struct image im = {0};
        memcpy(copy, data, count);
        for (int k = 0; k <= round % 3; k++) {
            seed = seed * 1664525 + 1013904223;
            copy[(seed >> 4) % count] ^= (unsigned char)(1U << (seed >> 29));
        }
        refused += read(&im, copy, count, "noisy", &err) != COHORT_OK;
        image_release(&im);
    }
    free(copy);
    assert_true(refused > 0);
}

static void cut_and_noisy_png(void **state) {
    (void)state;
    uint8_t rows[PW * PH * 4];
    for (int i = 0; i < PW * PH * 4; i++)
        rows[i] = (uint8_t)(i * i);
    for (int interlaced = 0; interlaced < 2; interlaced++) {
        struct picture p = {.width = PW,
                            .height = PH,
                            .depth = 8,
                            .type = PNG_COLOR_TYPE_RGB_ALPHA,
                            .interlaced = interlaced,
                            .rows = rows,
                            .pitch = PW * 4};
        size_t n;
        char *data = file_bytes(write_png("cut.png", &p, false), &n);
        cut_everywhere(png_read, (const unsigned char *)data, n);
        noise_everywhere(png_read, (const unsigned char *)data, n, 3000);
        free(data);
    }
}

static void cut_and_noisy_jpeg(void **state) {
    (void)state;
    uint8_t rgb[JW * JH * 3];
    smooth_picture(rgb);
    for (int progressive = 0; progressive < 2; progressive++) {
        struct jpeg_kind k = {.in = JCS_RGB,
                              .stored = JCS_YCbCr,
                              .components = 3,
                              .quality = 70,
                              .progressive = progressive,
                              .orientation = 6};
        struct bytes b = make_jpeg(&k, JW, JH, rgb);
        cut_everywhere(jpeg_read, b.data, b.count);
        noise_everywhere(jpeg_read, b.data, b.count, 3000);
        free(b.data);
    }
}

static void failing_memory(void **state) {
    (void)state;
    uint8_t rgb[JW * JH * 3];
    smooth_picture(rgb);
    struct jpeg_kind k = plain_jpeg;
    k.orientation = 6;
    struct bytes b = make_jpeg(&k, JW, JH, rgb);
    const char *jpeg = test_write("m.jpg", b.data, b.count), *out = test_path("out.png");
    free(b.data);
    struct picture p = {.width = JW,
                        .height = JH,
                        .depth = 8,
                        .type = PNG_COLOR_TYPE_RGB,
                        .rows = rgb,
                        .pitch = JW * 3};
    const char *png = write_png("m.png", &p, false);
    long before = mem_live_blocks();
    int failures = 0;
    for (long nth = 1; nth < 1000; nth++) {
        struct image one = {0}, two = {0};
        error_clear(&err);
        mem_fail_at(nth);
        enum cohort_code code = image_load(&one, jpeg, &err);
        if (code == COHORT_OK)
            code = image_load(&two, png, &err);
        if (code == COHORT_OK)
            code = image_save_png(&two, out, &err);
        mem_fail_at(0);
        image_release(&one);
        image_release(&two);
        assert_int_equal(mem_live_blocks(), before);
        if (code == COHORT_OK)
            break;
        assert_int_equal(code, COHORT_ERR_MEMORY);
        failures++;
    }
    assert_true(failures > 5 && failures < 900);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(png_colour),        cmocka_unit_test(png_grey),
        cmocka_unit_test(png_palette),       cmocka_unit_test(png_round_trip),
        cmocka_unit_test(jpeg_kinds),        cmocka_unit_test(jpeg_orientation),
        cmocka_unit_test(exif_is_bounded),   cmocka_unit_test(no_pictures),
        cmocka_unit_test(cut_and_noisy_png), cmocka_unit_test(cut_and_noisy_jpeg),
        cmocka_unit_test(failing_memory),    cmocka_unit_test(nothing_is_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
