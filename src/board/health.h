/* Why a board may be slower than its equals: clock, governor, temperature, throttling; and how it
 * is connected.  Reads what the system has of /sys, and interfaces; what is not there is left out.
 */
#ifndef COHORT_BOARD_HEALTH_H
#define COHORT_BOARD_HEALTH_H

#include "board/board.h"

#define BOARD_HEALTH_BYTES  160
#define BOARD_NETWORK_BYTES 256

/* The highest clock of any of the board's cores; 0: unknown.  `sysfs` is "/sys", or a copy. */
double board_clock_mhz(const struct board *b, const char *sysfs);

/* "600 of 1500 MHz, governor powersave, 82 C, throttled 17 times, firmware 0x50005": what there is;
 * "clock and temperature unknown" when there is nothing. */
void board_health(const struct board *b, const char *sysfs, char text[BOARD_HEALTH_BYTES]);

/* "eth0 10.0.0.11/24 100 Mbit/s, wlan0 …": interfaces that are up, but lo; "" when there are none.
 */
void board_network(char text[BOARD_NETWORK_BYTES]);

#endif
