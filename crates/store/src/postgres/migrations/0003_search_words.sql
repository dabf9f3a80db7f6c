-- The words of each block, by its id: told apart already, so that both databases find the same.
CREATE TABLE search_words (
    id          BIGINT PRIMARY KEY,
    words       TSVECTOR NOT NULL
);
CREATE INDEX search_words_by_word ON search_words USING gin (words);
