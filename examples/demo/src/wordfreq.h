/* wordfreq: counts the words of a text. */
#ifndef WORDFREQ_H
#define WORDFREQ_H

#include <stddef.h>

struct entry {
    char *word;
    size_t count;
};

struct table {
    struct entry *slots; /* open addressing; an empty slot has no word */
    size_t n_slots;      /* a power of two */
    size_t n_words;
};

void table_init(struct table *table);
void table_add(struct table *table, const char *word, size_t length);
void table_free(struct table *table);

void report(const struct table *table, size_t most);
void manual(void);

#endif
