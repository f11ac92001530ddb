/* Detects the board with hwloc and divides its cores among the ranks that live on it.
 *
 * Usable cores are those of hwloc's allowed set (the machine's less what a cgroup takes away), not
 * of the current binding: Open MPI binds each rank to one core when there are at most two ranks and
 * to a socket above, and on some boards a "socket" is one cluster.  Of each core only the first
 * hardware thread is used.  A core's speed is whatever tells the clusters apart: the kernel's
 * cpu_capacity, hwloc's kinds, or the maximum frequency. */
#include "board/board.h"

#include "base/mem.h"

#include <errno.h>
#include <hwloc.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#define SYSFS_CPU "/sys/devices/system/cpu"

struct core {
    int os;     /* number of its first usable hardware thread */
    long speed; /* comparable within the board; 0: nothing known */
};

struct core_list {
    struct core items[BOARD_CORES_MAX];
    int count;
};

/* ---- lists of CPU numbers -------------------------------------------------------------------- */

static const char *parse_number(const char *at, int *number) {
    if (*at < '0' || *at > '9')
        return NULL;
    char *end;
    errno = 0;
    long v = strtol(at, &end, 10);
    if (errno != 0 || v >= BOARD_CORES_MAX)
        return NULL;
    *number = (int)v;
    return end;
}

static bool has_number(const int *numbers, int count, int n) {
    for (int i = 0; i < count; i++) {
        if (numbers[i] == n)
            return true;
    }
    return false;
}

enum cohort_code board_parse_list(const char *text, int *numbers, int max, int *count,
                                  struct cohort_error *err) {
    int n = 0;
    const char *at = text;
    for (;;) {
        int first;
        at = parse_number(at, &first);
        if (at == NULL)
            break;
        int last = first;
        if (*at == '-') {
            at = parse_number(at + 1, &last);
            if (at == NULL || last < first)
                break;
        }
        for (int i = first; i <= last; i++) {
            if (has_number(numbers, n, i))
                continue;
            if (n == max)
                return error_set(err, COHORT_ERR_USAGE, "core list \"%s\": more than %d cores",
                                 text, max);
            numbers[n++] = i;
        }
        if (*at == '\0') {
            *count = n;
            return COHORT_OK;
        }
        if (*at != ',')
            break;
        at++;
    }
    return error_set(err, COHORT_ERR_USAGE,
                     "core list \"%s\": expected \"all\", \"big\" or numbers below %d like 0-3,6",
                     text, BOARD_CORES_MAX);
}

/* ---- the machine ----------------------------------------------------------------------------- */

static enum cohort_code apply_allowed(hwloc_topology_t topology, const char *allowed,
                                      struct cohort_error *err) {
    int numbers[BOARD_CORES_MAX];
    int count = 0;
    enum cohort_code code = board_parse_list(allowed, numbers, BOARD_CORES_MAX, &count, err);
    if (code != COHORT_OK)
        return code;
    hwloc_bitmap_t set = hwloc_bitmap_alloc();
    if (set == NULL)
        return error_set(err, COHORT_ERR_MEMORY, "out of memory: a set of CPUs");
    for (int i = 0; i < count; i++)
        hwloc_bitmap_set(set, (unsigned)numbers[i]);
    int rc = hwloc_topology_allow(topology, set, NULL, HWLOC_ALLOW_FLAG_CUSTOM);
    hwloc_bitmap_free(set);
    if (rc != 0)
        return error_set(err, COHORT_ERR_FORMAT, "machine: no CPU of \"%s\" exists", allowed);
    return COHORT_OK;
}

static enum cohort_code load_topology(hwloc_topology_t *topology, const struct board_machine *m,
                                      struct cohort_error *err) {
    hwloc_topology_t t;
    if (hwloc_topology_init(&t) != 0)
        return error_set(err, COHORT_ERR_MEMORY, "out of memory: hwloc cannot start");
    enum cohort_code code = COHORT_OK;
    int rc = 0;
    if (m != NULL && m->synthetic != NULL)
        rc = hwloc_topology_set_synthetic(t, m->synthetic);
    else if (m != NULL && m->xml != NULL)
        rc = hwloc_topology_set_xmlbuffer(t, m->xml, (int)strlen(m->xml) + 1);
    if (rc == 0 && m != NULL && m->allowed != NULL)
        rc = hwloc_topology_set_flags(t, HWLOC_TOPOLOGY_FLAG_INCLUDE_DISALLOWED);
    if (rc == 0)
        rc = hwloc_topology_load(t);
    if (rc != 0)
        code = error_set(err, m == NULL ? COHORT_ERR_INTERNAL : COHORT_ERR_FORMAT,
                         "hwloc cannot read this machine's topology%s%s",
                         m != NULL && m->synthetic != NULL ? ": " : "",
                         m != NULL && m->synthetic != NULL ? m->synthetic : "");
    if (code == COHORT_OK && m != NULL && m->allowed != NULL)
        code = apply_allowed(t, m->allowed, err);
    if (code != COHORT_OK) {
        hwloc_topology_destroy(t);
        return code;
    }
    *topology = t;
    return COHORT_OK;
}

/* ---- speeds of cores ------------------------------------------------------------------------- */

/* A number in DIR/cpuN/NAME; 0 when there is none. */
static long sysfs_number(const char *directory, int cpu, const char *name) {
    char path[512];
    long v = 0;
    int n = snprintf(path, sizeof path, "%s/cpu%d/%s", directory, cpu, name);
    if (n < 0 || (size_t)n >= sizeof path)
        return 0;
    FILE *f = fopen(path, "re");
    if (f == NULL)
        return 0;
    if (fscanf(f, "%ld", &v) != 1 || v < 0)
        v = 0;
    fclose(f);
    return v;
}

/* True when every core has a speed and they are not all the same: they tell clusters apart. */
static bool speeds_differ(const struct core_list *list) {
    bool differ = false;
    for (int i = 0; i < list->count; i++) {
        if (list->items[i].speed <= 0)
            return false;
        differ |= list->items[i].speed != list->items[0].speed;
    }
    return differ;
}

static bool speeds_from_sysfs(struct core_list *list, const char *directory, const char *name) {
    if (directory == NULL)
        return false;
    for (int i = 0; i < list->count; i++)
        list->items[i].speed = sysfs_number(directory, list->items[i].os, name);
    return speeds_differ(list);
}

static bool speeds_from_kinds(struct core_list *list, hwloc_topology_t topology) {
    hwloc_bitmap_t one = hwloc_bitmap_alloc();
    if (one == NULL)
        return false;
    for (int i = 0; i < list->count; i++) {
        int efficiency = -1;
        hwloc_bitmap_only(one, (unsigned)list->items[i].os);
        int kind = hwloc_cpukinds_get_by_cpuset(topology, one, 0);
        if (kind >= 0)
            hwloc_cpukinds_get_info(topology, (unsigned)kind, NULL, &efficiency, NULL, NULL, 0);
        list->items[i].speed = kind < 0 || efficiency < 0 ? 0 : (efficiency + 1) * 1000L;
    }
    hwloc_bitmap_free(one);
    return speeds_differ(list);
}

static void find_speeds(struct core_list *list, hwloc_topology_t topology, const char *sysfs) {
    if (speeds_from_sysfs(list, sysfs, "cpu_capacity") || speeds_from_kinds(list, topology) ||
        speeds_from_sysfs(list, sysfs, "cpufreq/cpuinfo_max_freq"))
        return;
    for (int i = 0; i < list->count; i++)
        list->items[i].speed = 0;
}

/* Within 10 % is the same cluster: the two pairs of big cores of an RK3588 differ by 2 %, and turbo
 * bins of x86 cores by a little more. */
static bool same_cluster(const struct core *c, long fastest) {
    return c->speed >= fastest - fastest / 10;
}

/* Keeps the cores of the fastest cluster. */
static void keep_big(struct core_list *list) {
    long fastest = 0;
    int kept = 0;
    for (int i = 0; i < list->count; i++) {
        if (list->items[i].speed > fastest)
            fastest = list->items[i].speed;
    }
    for (int i = 0; i < list->count; i++) {
        if (same_cluster(&list->items[i], fastest))
            list->items[kept++] = list->items[i];
    }
    list->count = kept;
}

/* Fastest first, else in the order they have (an insertion sort, to be stable). */
static void sort_by_speed(struct core *items, int count) {
    for (int i = 1; i < count; i++) {
        struct core c = items[i];
        int j = i;
        for (; j > 0 && items[j - 1].speed < c.speed; j--)
            items[j] = items[j - 1];
        items[j] = c;
    }
}

/* ---- choosing and dividing ------------------------------------------------------------------- */

/* The first allowed hardware thread of each core, in hwloc's order (neighbours share caches). */
static void list_cores(struct core_list *list, hwloc_topology_t topology) {
    hwloc_const_cpuset_t allowed = hwloc_topology_get_allowed_cpuset(topology);
    hwloc_obj_t last = NULL;
    list->count = 0;
    for (hwloc_obj_t pu = NULL;
         (pu = hwloc_get_next_obj_by_type(topology, HWLOC_OBJ_PU, pu)) != NULL;) {
        hwloc_obj_t core = hwloc_get_ancestor_obj_by_type(topology, HWLOC_OBJ_CORE, pu);
        if (list->count == BOARD_CORES_MAX || pu->os_index >= BOARD_CORES_MAX ||
            (core != NULL && core == last) || !hwloc_bitmap_isset(allowed, pu->os_index))
            continue;
        last = core;
        list->items[list->count++] = (struct core){.os = (int)pu->os_index};
    }
}

static enum cohort_code cores_of_user(struct core_list *list, hwloc_topology_t topology,
                                      const char *text, struct cohort_error *err) {
    int numbers[BOARD_CORES_MAX];
    int count = 0;
    enum cohort_code code = board_parse_list(text, numbers, BOARD_CORES_MAX, &count, err);
    if (code != COHORT_OK)
        return code;
    hwloc_const_cpuset_t allowed = hwloc_topology_get_allowed_cpuset(topology);
    for (int i = 0; i < count; i++) {
        if (!hwloc_bitmap_isset(allowed, (unsigned)numbers[i])) {
            char usable[160];
            hwloc_bitmap_list_snprintf(usable, sizeof usable, allowed);
            return error_set(
                err, COHORT_ERR_USAGE,
                "core list \"%s\": core %d does not exist or is not allowed here; usable are %s",
                text, numbers[i], usable);
        }
        list->items[i] = (struct core){.os = numbers[i]};
    }
    list->count = count;
    return COHORT_OK;
}

/* Numbers the clusters of cores[count] from the fastest on; to[i] is that of core i. */
static void number_clusters(const struct core *cores, int count, unsigned char *to) {
    for (int i = 0; i < count; i++)
        to[i] = UCHAR_MAX;
    for (int cluster = 0, left = count; left > 0 && cluster < UCHAR_MAX; cluster++) {
        long fastest = LONG_MIN;
        for (int i = 0; i < count; i++)
            if (to[i] == UCHAR_MAX && cores[i].speed > fastest)
                fastest = cores[i].speed;
        for (int i = 0; i < count; i++)
            if (to[i] == UCHAR_MAX && same_cluster(&cores[i], fastest)) {
                to[i] = (unsigned char)cluster;
                left--;
            }
    }
}

/* This rank's contiguous share of the cores, and its threads on them. */
static enum cohort_code divide(struct board *b, const struct board_options *o,
                               struct core_list *list, bool fastest_first,
                               struct cohort_error *err) {
    int ranks = o->local_size < 1 ? 1 : o->local_size;
    if (o->local_rank < 0 || o->local_rank >= ranks)
        return error_set(err, COHORT_ERR_INTERNAL, "local rank %d of %d", o->local_rank, ranks);
    if (o->threads < 0 || o->threads > BOARD_CORES_MAX)
        return error_set(err, COHORT_ERR_USAGE, "%d threads: 0 (all cores) to %d are allowed",
                         o->threads, BOARD_CORES_MAX);
    int begin = (int)((int64_t)list->count * o->local_rank / ranks);
    int end = (int)((int64_t)list->count * (o->local_rank + 1) / ranks);
    if (ranks > list->count)
        end = begin + 1;
    int share = end - begin;
    if (fastest_first)
        sort_by_speed(list->items + begin, share);
    b->threads = o->threads == 0 ? share : o->threads;
    b->shared = ranks > 1;
    b->oversubscribed = ranks > list->count || b->threads > share;
    unsigned char cluster[BOARD_CORES_MAX];
    number_clusters(list->items + begin, share, cluster);
    for (int t = 0; t < b->threads; t++) {
        b->core_of[t] = list->items[begin + t % share].os;
        b->cluster_of[t] = cluster[t % share];
    }
    return COHORT_OK;
}

/* Undoes mpirun's binding: the process may use its share, or everything when cores are reused.
 * A system that refuses is no error: the threads then run where they can. */
static void bind_process(hwloc_topology_t topology, const struct board *b) {
    hwloc_bitmap_t set = hwloc_bitmap_dup(hwloc_topology_get_allowed_cpuset(topology));
    if (set == NULL)
        return;
    if (!b->oversubscribed) {
        hwloc_bitmap_zero(set);
        for (int t = 0; t < b->threads; t++)
            hwloc_bitmap_set(set, (unsigned)b->core_of[t]);
    }
    (void)hwloc_set_cpubind(topology, set, HWLOC_CPUBIND_PROCESS);
    hwloc_bitmap_free(set);
}

/* ---- names, caches, memory ------------------------------------------------------------------- */

static void read_line(const char *path, char *text, size_t bytes) {
    FILE *f = fopen(path, "re");
    text[0] = '\0';
    if (f == NULL)
        return;
    size_t n = fread(text, 1, bytes - 1, f);
    fclose(f);
    text[n] = '\0';
    text[strcspn(text, "\n")] = '\0';
}

static void find_names(struct board *b, hwloc_topology_t topology, bool real) {
    if (gethostname(b->name, sizeof b->name) != 0 || b->name[0] == '\0')
        snprintf(b->name, sizeof b->name, "unnamed");
    b->name[sizeof b->name - 1] = '\0';
    hwloc_obj_t package = hwloc_get_obj_by_type(topology, HWLOC_OBJ_PACKAGE, 0);
    const char *model = package == NULL ? NULL : hwloc_obj_get_info_by_name(package, "CPUModel");
    if (model == NULL)
        model = hwloc_obj_get_info_by_name(hwloc_get_root_obj(topology), "CPUModel");
    if (model != NULL)
        snprintf(b->cpu_model, sizeof b->cpu_model, "%s", model);
    else if (real) /* Arm: the CPU has no name there, the board has */
        read_line("/proc/device-tree/model", b->cpu_model, sizeof b->cpu_model);
#if defined(__x86_64__)
    snprintf(b->isa, sizeof b->isa, "x86_64");
#elif defined(__aarch64__)
    snprintf(b->isa, sizeof b->isa, "aarch64");
#elif defined(__arm__)
    snprintf(b->isa, sizeof b->isa, "armv7l");
#else
    struct utsname u;
    snprintf(b->isa, sizeof b->isa, "%.31s", uname(&u) == 0 ? u.machine : "unknown");
#endif
}

static size_t cache_of(hwloc_topology_t topology, int os, hwloc_obj_type_t type, bool share) {
    hwloc_obj_t pu = hwloc_get_pu_obj_by_os_index(topology, (unsigned)os);
    hwloc_obj_t cache = pu == NULL ? NULL : hwloc_get_ancestor_obj_by_type(topology, type, pu);
    if (cache == NULL || cache->attr == NULL)
        return 0;
    int cores = hwloc_get_nbobjs_inside_cpuset_by_type(topology, cache->cpuset, HWLOC_OBJ_CORE);
    return (size_t)cache->attr->cache.size / (size_t)(share && cores > 1 ? cores : 1);
}

static void keep_least(size_t *least, size_t value) {
    if (value != 0 && (*least == 0 || value < *least))
        *least = value;
}

static void find_caches(struct board *b, hwloc_topology_t topology) {
    for (int t = 0; t < b->threads; t++) {
        int os = b->core_of[t];
        keep_least(&b->l1_bytes, cache_of(topology, os, HWLOC_OBJ_L1CACHE, true));
        keep_least(&b->l2_bytes, cache_of(topology, os, HWLOC_OBJ_L2CACHE, true));
        keep_least(&b->l3_bytes, cache_of(topology, os, HWLOC_OBJ_L3CACHE, false));
    }
}

/* ---- all together ---------------------------------------------------------------------------- */

static enum cohort_code detect(struct board *b, const struct board_options *o,
                               const struct board_machine *m, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    hwloc_topology_t topology = NULL;
    struct board found = {0};
    struct board_memory memory = {0};
    bool named = o->cores == NULL || strcmp(o->cores, "all") == 0 || strcmp(o->cores, "big") == 0;
    struct core_list *list = mem_zalloc(1, sizeof *list);
    if (list == NULL)
        return error_memory(err, sizeof *list, "the list of cores");
    TRY(load_topology(&topology, m, err));
    list_cores(list, topology);
    found.cores_total = list->count;
    if (list->count == 0) {
        code = error_set(err, COHORT_ERR_INTERNAL, "hwloc finds no usable core");
        goto out;
    }
    if (!named)
        TRY(cores_of_user(list, topology, o->cores, err));
    find_speeds(list, topology, m == NULL ? SYSFS_CPU : m->sysfs);
    if (o->cores != NULL && strcmp(o->cores, "big") == 0)
        keep_big(list);
    TRY(divide(&found, o, list, named, err));
    find_names(&found, topology, m == NULL);
    find_caches(&found, topology);
    memory.bytes = hwloc_get_root_obj(topology)->total_memory;
    if (m == NULL)
        board_memory(&memory, memory.bytes, "");
    found.memory_bytes = memory.bytes;
    found.available_bytes = memory.available_bytes;
    if (o->bind && m == NULL)
        bind_process(topology, &found);
    *b = found;
out:
    if (topology != NULL)
        hwloc_topology_destroy(topology);
    mem_free(list);
    return code;
}

enum cohort_code board_detect(struct board *b, const struct board_options *o,
                              struct cohort_error *err) {
    return detect(b, o, NULL, err);
}

enum cohort_code board_detect_machine(struct board *b, const struct board_options *o,
                                      const struct board_machine *machine,
                                      struct cohort_error *err) {
    return detect(b, o, machine, err);
}

/* ---- engines --------------------------------------------------------------------------------- */

/* Those threads of the board whose cluster it is (below 0: all), at most `most`.  False: there is
 * none, or the list of cores is too long to be written. */
static bool engine_make(struct board_engine *e, const char *name, const struct board *b,
                        int cluster, int most) {
    hwloc_bitmap_t set = hwloc_bitmap_alloc();
    *e = (struct board_engine){.threads = 0};
    if (set == NULL)
        return false;
    snprintf(e->name, sizeof e->name, "%s", name);
    for (int t = 0; t < b->threads && e->threads < most; t++)
        if (cluster < 0 || b->cluster_of[t] == cluster) {
            hwloc_bitmap_set(set, (unsigned)b->core_of[t]);
            e->threads++;
        }
    const int length = hwloc_bitmap_list_snprintf(e->cores, sizeof e->cores, set);
    hwloc_bitmap_free(set);
    return e->threads > 0 && length >= 0 && (size_t)length < sizeof e->cores;
}

int board_engines_of(struct board_engine list[BOARD_ENGINES_MAX], const struct board *b) {
    int n = 0, clusters = 0;
    if (engine_make(&list[n], "serial", b, -1, 1))
        n++;
    if (b->threads == 1)
        return n;
    if (!engine_make(&list[n], "parallel", b, -1, b->threads))
        snprintf(list[n].cores, sizeof list[n].cores, "all");
    n++;
    for (int t = 0; t < b->threads; t++)
        clusters = b->cluster_of[t] >= clusters ? b->cluster_of[t] + 1 : clusters;
    for (int c = 0; clusters > 1 && c < clusters && n < BOARD_ENGINES_MAX; c++) {
        char name[sizeof list[n].name];
        snprintf(name, sizeof name, "cluster %d", c);
        n += engine_make(&list[n], name, b, c, b->threads);
    }
    return n;
}

enum cohort_code board_of_engine(struct board *out, const struct board *b,
                                 const struct board_engine *e, struct cohort_error *err) {
    int cores[BOARD_CORES_MAX];
    int count = b->threads;
    enum cohort_code code = COHORT_OK;
    struct board of = *b;
    if (strcmp(e->cores, "all") != 0)
        code = board_parse_list(e->cores, cores, BOARD_CORES_MAX, &count, err);
    if (code != COHORT_OK)
        return code;
    of.threads = 0;
    for (int t = 0; t < b->threads && of.threads < e->threads; t++)
        if (strcmp(e->cores, "all") == 0 || has_number(cores, count, b->core_of[t])) {
            of.core_of[of.threads] = b->core_of[t];
            of.cluster_of[of.threads++] = b->cluster_of[t];
        }
    *out = of;
    return code;
}

enum cohort_code board_engines(struct board_engine *list, int *count,
                               const struct board_machine *machine, struct cohort_error *err) {
    static const struct board_options whole;
    struct board *b = mem_zalloc(1, sizeof *b);
    if (b == NULL)
        return error_memory(err, sizeof *b, "a board");
    const enum cohort_code code = detect(b, &whole, machine, err);
    if (code == COHORT_OK)
        *count = board_engines_of(list, b);
    if (code == COHORT_OK && *count > 1) /* as this is asked for, the fastest come first */
        snprintf(list[1].cores, sizeof list[1].cores, "all");
    mem_free(b);
    return code;
}
