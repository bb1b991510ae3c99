/* What people see. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wordfreq.h"

static int by_count(const void *left, const void *right) {
    const struct entry *a = left, *b = right;
    if (a->count != b->count)
        return a->count < b->count ? 1 : -1;
    return strcmp(a->word, b->word);
}

void report(const struct table *table, size_t most) {
    struct entry *sorted = malloc(table->n_words * sizeof *sorted + 1);
    if (!sorted)
        return;
    size_t n = 0;
    for (size_t i = 0; i < table->n_slots; i++)
        if (table->slots[i].word)
            sorted[n++] = table->slots[i];
    qsort(sorted, n, sizeof *sorted, by_count);
    printf("%zu different words\n", n);
    for (size_t i = 0; i < n && i < most; i++)
        printf("%6zu  %s\n", sorted[i].count, sorted[i].word);
    free(sorted);
}

void manual(void) {
    puts(".TH WORDFREQ 1 \"\" \"wordfreq " VERSION "\"\n"
         ".SH NAME\nwordfreq \\- count the words of a text\n"
         ".SH SYNOPSIS\n.B wordfreq\n[\\fIN\\fR] < \\fItext\\fR\n"
         ".SH DESCRIPTION\nPrints the N most frequent words of its input, 10 when N is not given.");
}
