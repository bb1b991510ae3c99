/* The hash table of words. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wordfreq.h"

static void *allocate(size_t n, size_t size) {
    void *memory = calloc(n, size);
    if (!memory) {
        fputs("wordfreq: out of memory\n", stderr);
        exit(1);
    }
    return memory;
}

static size_t hash(const char *word, size_t length) {
    uint64_t state = 14695981039346656037u;
    for (size_t i = 0; i < length; i++)
        state = (state ^ (unsigned char)word[i]) * 1099511628211u;
    return (size_t)state;
}

void table_init(struct table *table) {
    table->n_slots = 256;
    table->n_words = 0;
    table->slots = allocate(table->n_slots, sizeof *table->slots);
}

static struct entry *find(const struct table *table, const char *word, size_t length) {
    size_t at = hash(word, length) & (table->n_slots - 1);
    for (;; at = (at + 1) & (table->n_slots - 1)) {
        struct entry *slot = &table->slots[at];
        if (!slot->word || (strlen(slot->word) == length && !memcmp(slot->word, word, length)))
            return slot;
    }
}

static void grow(struct table *table) {
    struct table larger = {allocate(table->n_slots * 2, sizeof *table->slots), table->n_slots * 2, table->n_words};
    for (size_t i = 0; i < table->n_slots; i++)
        if (table->slots[i].word)
            *find(&larger, table->slots[i].word, strlen(table->slots[i].word)) = table->slots[i];
    free(table->slots);
    *table = larger;
}

void table_add(struct table *table, const char *word, size_t length) {
    if (table->n_words * 2 >= table->n_slots)
        grow(table);
    struct entry *slot = find(table, word, length);
    if (!slot->word) {
        slot->word = allocate(length + 1, 1);
        memcpy(slot->word, word, length);
        table->n_words++;
    }
    slot->count++;
}

void table_free(struct table *table) {
    for (size_t i = 0; i < table->n_slots; i++)
        free(table->slots[i].word);
    free(table->slots);
}
