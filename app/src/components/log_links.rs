//! Addresses in what a build printed. Pure. Only `http` and `https` lead anywhere: text of builds opens nothing else.

/// A longer address is text.
const BYTES_MAX: usize = 2_048;
/// So many of a line lead somewhere at most.
const LINKS_MAX: usize = 20;

/// From where to where addresses stand in a text, in bytes.
#[must_use]
pub fn links(text: &str) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut from = 0;
    while found.len() < LINKS_MAX
        && let Some(at) = text[from..].find("http")
    {
        let first = from + at;
        from = first + "http".len();
        // In the middle of a word it is a part of that word.
        if text[..first].chars().next_back().is_some_and(char::is_alphanumeric) {
            continue;
        }
        let rest = &text[first..];
        let Some(host) = rest.strip_prefix("https://").or_else(|| rest.strip_prefix("http://")) else { continue };
        if !host.starts_with(|c: char| c.is_alphanumeric() || c == '[') {
            continue;
        }
        let length = end(rest);
        from = first + length;
        if length <= BYTES_MAX {
            found.push((first, first + length));
        }
    }
    found
}

/// Where an address that a text begins with ends: before what cannot stand in one, and before what belongs to the sentence
/// around it. In one pass each way, whatever a build prints.
fn end(text: &str) -> usize {
    let stop = |c: char| c.is_whitespace() || c.is_control() || "\"'`<>|\\^{}".contains(c);
    let mut address = &text[..text.find(stop).unwrap_or(text.len())];
    // Brackets that are closed here and were opened before: those at the end are not the address's.
    let strange =
        |open, close| address.matches::<char>(close).count().saturating_sub(address.matches::<char>(open).count());
    let (mut round, mut square) = (strange('(', ')'), strange('[', ']'));
    while let Some(last) = address.chars().next_back() {
        match last {
            ')' if round > 0 => round -= 1,
            ']' if square > 0 => square -= 1,
            '.' | ',' | ';' | ':' | '!' | '?' => {}
            _ => break,
        }
        address = &address[..address.len() - last.len_utf8()];
    }
    address.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<&str> {
        links(text).into_iter().map(|(first, last)| &text[first..last]).collect()
    }

    #[test]
    fn addresses_are_found_without_the_sentence_around_them() {
        assert_eq!(found("see https://example.org/a?b=c#d."), ["https://example.org/a?b=c#d"]);
        assert_eq!(found("(http://localhost:8080/), or <https://a.b>"), ["http://localhost:8080/", "https://a.b"]);
        assert_eq!(
            found("https://en.wikipedia.org/wiki/Rust_(fungus)"),
            ["https://en.wikipedia.org/wiki/Rust_(fungus)"]
        );
        assert_eq!(found("\"https://a.b/c\": 1, 'http://[::1]:80/x'"), ["https://a.b/c", "http://[::1]:80/x"]);
        assert_eq!(found("((see http://a/(b)[c]))..."), ["http://a/(b)[c]"]);
        assert_eq!(found("größe=https://ä.example/ü!"), ["https://ä.example/ü"]);
    }

    #[test]
    fn what_is_no_address_leads_nowhere() {
        for text in
            ["", "http", "https://", "http:// x", "xhttp://a", "javascript:alert(1)", "ftp://a.b", "data:text/html,x"]
        {
            assert_eq!(found(text), [""; 0], "{text}");
        }
        assert_eq!(found("javascript:https://a.b"), ["https://a.b"]);
        assert_eq!(found(&format!("https://a.b/{}", "c".repeat(BYTES_MAX))), [""; 0]);
        assert_eq!(found(&"http://a ".repeat(LINKS_MAX + 5)).len(), LINKS_MAX);
    }
}
