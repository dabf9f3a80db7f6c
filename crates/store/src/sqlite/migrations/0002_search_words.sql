-- The words of each block, by its id: told apart already, so that both databases find the same; separated by spaces. Only which
-- block has a word is kept: no text, no places.
CREATE VIRTUAL TABLE search_words USING fts5 (
    words, content = '', contentless_delete = 1, detail = none, tokenize = 'ascii'
);
