/* How boards are called in messages: host names, told apart where several boards share one. */
#include "comm/comm_internal.h"

#include <stdio.h>
#include <string.h>

/* Boards (not ranks) among ranks [0, end) that are called like rank r's, without the same board
 * twice. */
static int boards_called_like(const struct comm_board *boards, int r, int end) {
    int count = 0;
    for (int i = 0; i < end; i++)
        count += boards[i].node == i && strcmp(boards[i].host, boards[r].host) == 0;
    return count;
}

void comm_name_boards(struct comm_board *boards, int size) {
    for (int r = 0; r < size; r++) { /* into text first: host must stay until all are compared */
        int node = boards[r].node;
        snprintf(boards[r].text, sizeof boards[r].text, "%.*s", BOARD_NAME_BYTES - 1,
                 boards[r].host);
        if (boards_called_like(boards, r, size) > 1)
            snprintf(boards[r].text, sizeof boards[r].text, "%.*s#%d", BOARD_NAME_BYTES - 1,
                     boards[r].host, boards_called_like(boards, r, node + 1));
    }
    bool several = false;
    for (int r = 0; r < size; r++)
        several |= boards[r].node != boards[0].node;
    for (int r = 0; r < size; r++) {
        memcpy(boards[r].host, boards[r].text, sizeof boards[r].host);
        boards[r].host[sizeof boards[r].host - 1] = '\0';
        comm_board_name(boards[r].text, sizeof boards[r].text, boards[r].host, r, several);
    }
}

void comm_board_name(char *text, size_t bytes, const char *host, int rank, bool several) {
    snprintf(text, bytes, "%s (rank %d%s)", host, rank,
             rank == 0 && several ? ", first line of the hostfile" : "");
}

bool comm_names_board(const char *message) {
    const char *host_end = message + strcspn(message, " :");
    int rank, used = 0;
    if (host_end == message || sscanf(host_end, " (rank %d%n", &rank, &used) != 1 || used == 0)
        return false;
    const char *close = strchr(host_end + used, ')');
    return close != NULL && (host_end[used] == ')' || host_end[used] == ',') && close[1] == ':';
}
