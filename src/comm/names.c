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
    for (int r = 0; r < size; r++) {
        memcpy(boards[r].host, boards[r].text, sizeof boards[r].host);
        boards[r].host[sizeof boards[r].host - 1] = '\0';
        snprintf(boards[r].text, sizeof boards[r].text, "%s (rank %d)", boards[r].host, r);
    }
}
