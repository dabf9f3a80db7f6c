-- The words of each block, by its id: told apart already, so that both databases find the same; separated by spaces. Only which
-- block has a word is kept: no text, no places.
CREATE VIRTUAL TABLE search_words USING fts5 (
    words, content = '', contentless_delete = 1, detail = none, tokenize = 'ascii'
);
-- Its segments are merged by steps of our own, so that no transaction has to merge many at once.
INSERT INTO search_words (search_words, rank) VALUES ('automerge', 0);
INSERT INTO search_words (search_words, rank) VALUES ('crisismerge', 1000);
