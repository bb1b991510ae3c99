/* wordfreq [N] < text */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wordfreq.h"

int main(int argc, char **argv) {
    size_t most = 10;
    if (argc > 1 && !strcmp(argv[1], "--version")) {
        puts("wordfreq " VERSION);
        return 0;
    }
    if (argc > 1 && !strcmp(argv[1], "--man")) {
        manual();
        return 0;
    }
    if (argc > 1)
        most = strtoul(argv[1], NULL, 10);

    struct table table;
    table_init(&table);
    char word[256];
    size_t length = 0;
    for (int c; (c = getchar()) != EOF;) {
        if (isalpha(c) && length < sizeof word) {
            word[length++] = (char)tolower(c);
        } else if (!isalpha(c) && length) {
            table_add(&table, word, length);
            length = 0;
        }
    }
    if (length)
        table_add(&table, word, length);
    report(&table, most);
    table_free(&table);
    return 0;
}
