/* What a rank can see of its own board: binding, cores, kernels, the interface that is used. */
#include "cli/check.h"

#include "board/board.h"
#include "kernels/kernel.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TRAFFIC_LEAST 65536u /* bytes over an interface that count as use of it */

/* ---- this board ------------------------------------------------------------------------------ */

/* "0-3,6" of a list of numbers, ascending runs joined. */
static void list_text(char *out, size_t bytes, const int *numbers, int count) {
    size_t at = 0;
    out[0] = '\0';
    for (int i = 0; i < count && at < bytes;) {
        int last = i;
        while (last + 1 < count && numbers[last + 1] == numbers[last] + 1)
            last++;
        int n = last > i ? snprintf(out + at, bytes - at, "%s%d-%d", at > 0 ? "," : "", numbers[i],
                                    numbers[last])
                         : snprintf(out + at, bytes - at, "%s%d", at > 0 ? "," : "", numbers[i]);
        at += n > 0 ? (size_t)n : bytes;
        i = last + 1;
    }
}

static void find_binding(char *out, size_t bytes) {
    cpu_set_t set;
    int numbers[CPU_SETSIZE], count = 0;
    out[0] = '\0';
    if (sched_getaffinity(0, sizeof set, &set) != 0)
        return;
    for (int i = 0; i < CPU_SETSIZE; i++) {
        if (CPU_ISSET((size_t)i, &set))
            numbers[count++] = i;
    }
    list_text(out, bytes, numbers, count);
}

/* "4.1.4" of "Open MPI v4.1.4, package: …". */
static void find_mpi_version(char *out, size_t bytes) {
    char text[MPI_MAX_LIBRARY_VERSION_STRING] = "";
    int length = 0;
    MPI_Get_library_version(text, &length);
    const char *v = strstr(text, "Open MPI v");
    v = v != NULL ? v + strlen("Open MPI v") : text;
    snprintf(out, bytes, "%.*s", (int)strcspn(v, ", \n"), v);
}

static void find_kernels(char *out, size_t bytes) {
    size_t at = 0;
    out[0] = '\0';
    for (int i = ISA_COUNT - 1; i >= 0 && at < bytes; i--) {
        if (i == ISA_GENERIC || i == ISA_BLAS || (kernel_isa_available() & (1u << i)) == 0)
            continue;
        int n = snprintf(out + at, bytes - at, "%s%s", at > 0 ? " " : "",
                         kernel_isa_name((enum kernel_isa)i));
        at += n > 0 ? (size_t)n : bytes;
    }
    if (out[0] == '\0')
        snprintf(out, bytes, "%s", kernel_isa_name(ISA_GENERIC));
}

static int by_number(const void *a, const void *b) {
    int x = *(const int *)a, y = *(const int *)b;
    return (x > y) - (x < y);
}

enum cohort_code check_find_board(struct check *c, struct cohort_error *err) {
    struct facts *f = &c->mine;
    struct board b;
    const char *local_rank = cli_environment("OMPI_COMM_WORLD_LOCAL_RANK");
    const char *local_size = cli_environment("OMPI_COMM_WORLD_LOCAL_SIZE");
    struct board_options o = {.threads = (int)c->common.threads,
                              .cores = c->common.cores,
                              .local_rank = local_rank != NULL ? atoi(local_rank) : 0,
                              .local_size = local_size != NULL ? atoi(local_size) : 1};
    enum cohort_code code = COHORT_OK;
    int sorted[BOARD_CORES_MAX];
    find_binding(f->binding, sizeof f->binding);
    find_mpi_version(f->mpi, sizeof f->mpi);
    find_kernels(f->kernels, sizeof f->kernels);
    snprintf(f->build, sizeof f->build, "%s %s", cohort_version(),
             strstr(cli_build_text(), "build"));
    f->local_rank = o.local_rank;
    f->reported = 1;
    if (gethostname(f->host, sizeof f->host - 1) != 0)
        f->host[0] = '\0';
    TRY(board_detect(&b, &o, err));
    snprintf(f->host, sizeof f->host, "%s", b.name);
    snprintf(f->isa, sizeof f->isa, "%s", b.isa);
    snprintf(f->cpu, sizeof f->cpu, "%s", b.cpu_model);
    memcpy(sorted, b.core_of, sizeof sorted);
    qsort(sorted, (size_t)b.threads, sizeof *sorted, by_number);
    list_text(f->cores, sizeof f->cores, sorted, b.threads);
    f->memory_bytes = b.memory_bytes;
    f->threads = b.threads;
    f->cores_total = b.cores_total;
    f->oversubscribed = b.oversubscribed;
out:
    return code;
}

/* ---- interfaces ------------------------------------------------------------------------------ */

void check_count_traffic(struct traffic *t) {
    char line[512];
    FILE *f = fopen("/proc/net/dev", "re");
    t->count = 0;
    if (f == NULL)
        return;
    while (t->count < CHECK_INTERFACES_MAX && fgets(line, sizeof line, f) != NULL) {
        uint64_t in, out;
        char *colon = strchr(line, ':');
        if (colon == NULL ||
            sscanf(colon + 1, "%" SCNu64 " %*u %*u %*u %*u %*u %*u %*u %" SCNu64, &in, &out) != 2)
            continue;
        *colon = '\0';
        const char *name = line + strspn(line, " ");
        if (strcmp(name, "lo") == 0)
            continue;
        snprintf(t->name[t->count], IF_NAMESIZE, "%.15s", name);
        t->bytes[t->count++] = in + out;
    }
    fclose(f);
}

/* The address and the network of an interface. */
static void describe_interface(struct facts *f, const char *name) {
    struct ifaddrs *list, *a;
    char path[64];
    snprintf(f->interface, sizeof f->interface, "%s", name);
    snprintf(path, sizeof path, "/sys/class/net/%s/wireless", name);
    f->wireless = access(path, F_OK) == 0;
    if (getifaddrs(&list) != 0)
        return;
    for (a = list; a != NULL; a = a->ifa_next) {
        struct sockaddr_in address, mask;
        char text[INET_ADDRSTRLEN];
        if (a->ifa_addr == NULL || a->ifa_netmask == NULL || a->ifa_addr->sa_family != AF_INET ||
            strcmp(a->ifa_name, name) != 0)
            continue;
        memcpy(&address, a->ifa_addr, sizeof address);
        memcpy(&mask, a->ifa_netmask, sizeof mask);
        int prefix = __builtin_popcount(mask.sin_addr.s_addr);
        inet_ntop(AF_INET, &address.sin_addr, text, sizeof text);
        snprintf(f->interface, sizeof f->interface, "%s %s/%d", name, text, prefix);
        address.sin_addr.s_addr &= mask.sin_addr.s_addr;
        inet_ntop(AF_INET, &address.sin_addr, text, sizeof text);
        snprintf(f->network, sizeof f->network, "%s/%d", text, prefix);
        break;
    }
    freeifaddrs(list);
}

/* The messages went by the interface that counted the most bytes meanwhile. */
void check_find_interface(struct facts *f, const struct traffic *before) {
    struct traffic after;
    uint64_t most = TRAFFIC_LEAST;
    const char *name = NULL;
    check_count_traffic(&after);
    for (int i = 0; i < after.count; i++) {
        for (int j = 0; j < before->count; j++) {
            uint64_t more = after.bytes[i] - before->bytes[j];
            if (strcmp(after.name[i], before->name[j]) == 0 && more > most) {
                most = more;
                name = after.name[i];
            }
        }
    }
    if (name != NULL)
        describe_interface(f, name);
}
