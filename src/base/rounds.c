#include "base/rounds.h"

int rounds_count(int n) {
    return n < 2 ? 0 : n % 2 == 0 ? n - 1 : n;
}

/* The "circle method": with an odd number, as if there were one more. */
int rounds_partner(int one, int n, int round) {
    int even = n + n % 2, m = even - 1, other;
    if (one == even - 1)
        other = round;
    else if (one == round)
        other = even - 1;
    else
        other = ((2 * round - one) % m + m) % m;
    return other < n ? other : one;
}
