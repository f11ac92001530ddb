#include "board/health.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define PATH_BYTES   256
#define ZONES_MAX    32
#define NO_NUMBER    (-1L)
#define SPEED_NONE   0xffffu /* what drivers say that do not know */
#define CELSIUS_MOST 200

/* ---- files of /sys --------------------------------------------------------------------------- */

static bool read_word(const char *path, char *text, size_t bytes) {
    FILE *f = fopen(path, "re");
    if (f == NULL)
        return false;
    bool ok = fgets(text, (int)bytes, f) != NULL;
    fclose(f);
    if (ok)
        text[strcspn(text, "\n")] = '\0';
    return ok && text[0] != '\0';
}

/* A number in a file below sysfs; NO_NUMBER: there is none. */
static long read_number(const char *sysfs, const char *fmt, int index) {
    char path[PATH_BYTES], name[PATH_BYTES / 2], text[32], *end;
    snprintf(name, sizeof name, fmt, index);
    snprintf(path, sizeof path, "%s/%s", sysfs, name);
    if (!read_word(path, text, sizeof text))
        return NO_NUMBER;
    long v = strtol(text, &end, 10);
    return end != text && v >= 0 ? v : NO_NUMBER;
}

#define CPUFREQ "devices/system/cpu/cpu%d/cpufreq/"

double board_clock_mhz(const struct board *b, const char *sysfs) {
    long most = 0;
    for (int t = 0; t < b->threads; t++) {
        long khz = read_number(sysfs, CPUFREQ "cpuinfo_max_freq", b->core_of[t]);
        most = khz > most ? khz : most;
    }
    return (double)most * 1e-3;
}

struct line {
    char *text;
    size_t at;
};

static void add(struct line *l, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void add(struct line *l, const char *fmt, ...) {
    va_list args;
    size_t room = BOARD_HEALTH_BYTES - l->at;
    if (l->at > 0 && room > 3)
        l->at += (size_t)snprintf(l->text + l->at, room, ", ");
    room = BOARD_HEALTH_BYTES - l->at;
    va_start(args, fmt);
    int n = vsnprintf(l->text + l->at, room, fmt, args);
    va_end(args);
    l->at += n > 0 && (size_t)n < room ? (size_t)n : room - 1;
}

/* The lowest clock of the rank's cores now. */
static void add_clock(struct line *l, const struct board *b, const char *sysfs) {
    char path[PATH_BYTES], governor[32];
    long now = NO_NUMBER;
    for (int t = 0; t < b->threads; t++) {
        long khz = read_number(sysfs, CPUFREQ "scaling_cur_freq", b->core_of[t]);
        now = khz != NO_NUMBER && (now == NO_NUMBER || khz < now) ? khz : now;
    }
    double most = board_clock_mhz(b, sysfs);
    if (now != NO_NUMBER && most > 0)
        add(l, "%ld of %.0f MHz", now / 1000, most);
    else if (now != NO_NUMBER)
        add(l, "%ld MHz", now / 1000);
    snprintf(path, sizeof path, "%s/devices/system/cpu/cpu%d/cpufreq/scaling_governor", sysfs,
             b->core_of[0]);
    if (read_word(path, governor, sizeof governor))
        add(l, "governor %s", governor);
}

static void add_heat(struct line *l, const struct board *b, const char *sysfs) {
    char path[PATH_BYTES], flags[32];
    long hottest = NO_NUMBER, times = 0;
    for (int zone = 0; zone < ZONES_MAX; zone++) {
        long milli = read_number(sysfs, "class/thermal/thermal_zone%d/temp", zone);
        if (milli != NO_NUMBER && milli / 1000 <= CELSIUS_MOST && milli > hottest)
            hottest = milli;
    }
    if (hottest != NO_NUMBER)
        add(l, "%ld C", hottest / 1000);
    for (int t = 0; t < b->threads; t++) {
        long n = read_number(sysfs, "devices/system/cpu/cpu%d/thermal_throttle/core_throttle_count",
                             b->core_of[t]);
        times = n > times ? n : times;
    }
    if (times > 0)
        add(l, "throttled %ld times", times);
    snprintf(path, sizeof path, "%s/devices/platform/soc/soc:firmware/get_throttled", sysfs);
    if (read_word(path, flags, sizeof flags) && strcmp(flags, "0") != 0 &&
        strcmp(flags, "0x0") != 0)
        add(l, "firmware's throttle flags %s%s", strncmp(flags, "0x", 2) == 0 ? "" : "0x", flags);
}

void board_health(const struct board *b, const char *sysfs, char text[BOARD_HEALTH_BYTES]) {
    struct line l = {.text = text};
    text[0] = '\0';
    add_clock(&l, b, sysfs);
    add_heat(&l, b, sysfs);
    if (l.at == 0)
        add(&l, "clock and temperature unknown");
}

/* ---- interfaces ------------------------------------------------------------------------------ */

/* Mbit/s; 0: the driver does not say.  By the socket, because /sys may be another name space's. */
static unsigned interface_speed(int socket_fd, const char *name) {
    struct ethtool_cmd command = {.cmd = ETHTOOL_GSET};
    struct ifreq request = {0};
    snprintf(request.ifr_name, sizeof request.ifr_name, "%s", name);
    request.ifr_data = (void *)&command;
    if (socket_fd < 0 || ioctl(socket_fd, SIOCETHTOOL, &request) != 0)
        return 0;
    unsigned speed = ((unsigned)command.speed_hi << 16) | command.speed;
    return speed == SPEED_NONE || speed >= UINT32_MAX / 2 ? 0 : speed;
}

void board_network(char text[BOARD_NETWORK_BYTES]) {
    struct ifaddrs *list;
    size_t at = 0;
    text[0] = '\0';
    if (getifaddrs(&list) != 0)
        return;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    for (const struct ifaddrs *a = list; a != NULL; a = a->ifa_next) {
        struct sockaddr_in address, mask = {0};
        char dotted[INET_ADDRSTRLEN], speed[24] = "";
        if (a->ifa_addr == NULL || a->ifa_addr->sa_family != AF_INET ||
            (a->ifa_flags & IFF_UP) == 0 || (a->ifa_flags & IFF_LOOPBACK) != 0)
            continue;
        memcpy(&address, a->ifa_addr, sizeof address);
        if (a->ifa_netmask != NULL)
            memcpy(&mask, a->ifa_netmask, sizeof mask);
        inet_ntop(AF_INET, &address.sin_addr, dotted, sizeof dotted);
        unsigned mbit = interface_speed(fd, a->ifa_name);
        if (mbit > 0)
            snprintf(speed, sizeof speed, " %u Mbit/s", mbit);
        int n = snprintf(text + at, BOARD_NETWORK_BYTES - at, "%s%s %s/%d%s", at > 0 ? ", " : "",
                         a->ifa_name, dotted, __builtin_popcount(mask.sin_addr.s_addr), speed);
        if (n < 0 || (size_t)n >= BOARD_NETWORK_BYTES - at)
            break;
        at += (size_t)n;
    }
    if (fd >= 0)
        close(fd);
    freeifaddrs(list);
}
