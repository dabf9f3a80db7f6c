//! Where a pipeline's source may be: the addresses that are handed to git. Git knows more ways to a repository, among them
//! `ext::`, which runs a command, and it hands hosts to ssh, which takes one that begins with `-` for an option. What is not
//! known here never reaches it.

use crate::text::is_invisible;

/// An address that git may be given. Which of them an executor takes is its own decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GitUrl {
    /// `https://…`
    Https,
    /// `ssh://…`, or `user@host:path`.
    Ssh,
    /// `http://…`: nobody knows who answers.
    Http {
        /// `http://host:port`, in lower case and with the port in any case.
        origin: String,
    },
    /// A folder of the executor's host: an absolute path, as such or behind `file://`.
    Path(String),
}

/// An address has at most so many bytes.
pub const URL_BYTES_MAX: usize = 2048;

impl GitUrl {
    /// What a text is.
    ///
    /// # Errors
    /// One sentence, without its full stop, that says what is wrong and what would be right.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| {
            let shown = shown(text);
            Err(format!(
                "the Git address `{shown}` {why}: it must be https://…, ssh://…, user@host:path, or what the executor allows by \
                 `--git-allow`"
            ))
        };
        if text.is_empty() || text.len() > URL_BYTES_MAX {
            return wrong(&format!("has {} bytes, and may have 1 to {URL_BYTES_MAX}", text.len()));
        }
        if text.starts_with('-') {
            return wrong("begins with `-`, as an option of git does");
        }
        if text.chars().any(|letter| letter.is_control() || is_invisible(letter)) {
            return wrong("holds control characters");
        }
        if text.starts_with('/') {
            return Ok(Self::Path(text.to_owned()));
        }
        if let Some((scheme, rest)) = text.split_once("://") {
            let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            return match scheme.to_ascii_lowercase().as_str() {
                "file" if authority.is_empty() && path.starts_with('/') => Ok(Self::Path(path.to_owned())),
                "file" => wrong("is no absolute path behind file://"),
                "https" => host_of(authority, false).map(|_| Self::Https).or_else(wrong),
                "ssh" => host_of(authority, true).map(|_| Self::Ssh).or_else(wrong),
                "http" => match host_of(authority, false) {
                    Ok((host, port)) => {
                        let origin = format!("http://{}:{}", host.to_ascii_lowercase(), port.unwrap_or(80));
                        Ok(Self::Http { origin })
                    }
                    Err(why) => wrong(why),
                },
                _ => wrong("names another way to a repository"),
            };
        }
        // `ext::…`, `fd::…` and the like are helpers that git would start.
        if text.contains("::") && !text.contains('[') {
            return wrong("names another way to a repository");
        }
        // The colons of an IPv6 address stand in brackets, before the one that ends it.
        let behind = text.find("]:").map_or(0, |end| end + 1);
        match text[behind..].split_once(':').map(|(end, path)| (&text[..behind + end.len()], path)) {
            Some((authority, path)) if authority.contains('@') => match host_of(authority, true) {
                Ok(_) if path.is_empty() || path.starts_with('-') => wrong("names no path on its host"),
                Ok(_) => Ok(Self::Ssh),
                Err(why) => wrong(why),
            },
            _ => wrong("is none of those that are taken"),
        }
    }
}

/// Host and port of `user@host:port`; why there are none otherwise. The user of ssh is an argument of a command.
fn host_of(authority: &str, is_ssh: bool) -> Result<(&str, Option<u16>), &'static str> {
    let (user, place) = authority.rsplit_once('@').map_or((None, authority), |(user, place)| (Some(user), place));
    if let Some(user) = user {
        let is_plain = user.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._+~".contains(&byte));
        if user.is_empty() || user.starts_with('-') || (is_ssh && !is_plain) {
            return Err("names a user that must be letters, digits, `.`, `_`, `-`, `+` or `~`, not beginning with `-`");
        }
        if !user.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("holds spaces or letters in its user that must be percent-encoded");
        }
    }
    let (host, port) = match place.rsplit_once(':') {
        // The colons of an IPv6 address stand in brackets.
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (place, None),
    };
    let port = port.map(str::parse::<u16>).transpose().map_err(|_| "has a port that is no number up to 65535")?;
    let is_v6 = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).is_some_and(|host| {
        !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_hexdigit() || b":.".contains(&byte))
    });
    let is_name = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
        && host.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    if is_v6 || is_name {
        Ok((host, port))
    } else {
        Err("names a host that must be letters, digits, `.`, `_` or `-`, beginning with a letter or digit")
    }
}

/// Whether a text may name a branch, a tag or a commit, by the rules of git-check-ref-format. `HEAD~2` and the like are none:
/// they are looked for at the remote, too, and `+a:b` would write into the repository.
#[must_use]
pub fn is_reference(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with(['-', '+'])
        && !text.contains("..")
        && !text.contains("@{")
        && !text.chars().any(|c| c.is_control() || is_invisible(c) || " :?*[^~\\".contains(c))
}

/// Judges what a pipeline names as its source's `ref`.
///
/// # Errors
/// One sentence, without its full stop, that says what is wrong and what would be right.
pub fn check_reference(text: &str) -> Result<(), String> {
    if is_reference(text) {
        return Ok(());
    }
    Err(format!(
        "the source's ref `{}` must be a branch, a tag or a commit: none begins with `-` or `+`, or holds spaces, control \
         characters, `..`, `@{{`, `:`, `?`, `*`, `[`, `^`, `~` or `\\`",
        shown(text)
    ))
}

/// For a sentence: short, in one line, and without a password.
fn shown(text: &str) -> String {
    const SHOWN_CHARS_MAX: usize = 80;
    let clean = |text: &str| {
        let clean = text.chars().map(|c| if c.is_control() || is_invisible(c) { ' ' } else { c });
        clean.take(SHOWN_CHARS_MAX).collect::<String>()
    };
    clean(&without_password(text))
}

/// `https://name:password@host/` without the part that nobody should read.
#[must_use]
pub fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    match authority.rsplit_once('@') {
        // A name alone may be a token, too.
        Some((user, host)) if user.contains(':') || scheme.to_ascii_lowercase().starts_with("http") => {
            format!("{scheme}://***@{host}{path}")
        }
        _ => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ways_to_a_repository_that_people_use_are_taken() {
        for url in ["https://example.org/a.git", "HTTPS://me:pw%40@example.org:8443/a", "https://[::1]/a"] {
            assert_eq!(GitUrl::parse(url), Ok(GitUrl::Https), "{url}");
        }
        for url in
            ["ssh://git@example.org/a.git", "ssh://example.org:2222/~me/a", "git@github.com:me/a.git", "me@[::1]:a"]
        {
            assert_eq!(GitUrl::parse(url), Ok(GitUrl::Ssh), "{url}");
        }
        let origin = |origin: &str| Ok(GitUrl::Http { origin: origin.to_owned() });
        assert_eq!(GitUrl::parse("http://Example.org/a"), origin("http://example.org:80"));
        assert_eq!(GitUrl::parse("http://127.0.0.1:8080/a"), origin("http://127.0.0.1:8080"));
        for (url, path) in [("/srv/a.git", "/srv/a.git"), ("file:///srv/a b", "/srv/a b"), ("/srv/a:b", "/srv/a:b")] {
            assert_eq!(GitUrl::parse(url), Ok(GitUrl::Path(path.to_owned())), "{url}");
        }
    }

    #[test]
    fn a_reference_names_one_commit_and_is_no_option() {
        for reference in ["main", "release/1.0", "v1", "0123456789abcdef", "a@b", "feature/é"] {
            assert!(is_reference(reference), "{reference}");
        }
        for reference in
            ["", "-b", "+a", "a:b", "a..b", "a b", "a^", "a~1", "a@{1}", "a\\b", "a*", "a[b", "a?", "a\u{202e}b", "a\n"]
        {
            assert!(!is_reference(reference), "{reference}");
        }
    }

    #[test]
    fn what_git_or_ssh_would_take_for_a_command_or_an_option_is_refused_in_one_sentence() {
        for url in [
            "",
            "ext::sh -c touch% /tmp/x",
            "ext::sh -c 'a@b:c'",
            "fd::17",
            "git://example.org/a",
            "ftp://example.org/a",
            "transport::https://example.org/a",
            "--upload-pack=touch /tmp/x",
            "-u@example.org:a",
            "ssh://-oProxyCommand=touch/a",
            "ssh://-oProxyCommand=touch@example.org/a",
            "ssh://me@-oProxyCommand=touch/a",
            "ssh://%2doProxyCommand=x/a",
            "ssh://a b@example.org/a",
            "ssh://example.org:22x/a",
            "me@-oProxyCommand=x:a",
            "-oProxyCommand=x@example.org:a",
            "me@example.org:",
            "me@example.org:-x",
            "example.org:a",
            "file://host/a",
            "file://a",
            "a/b",
            "../a",
            "https:///a",
            "https://-x/a",
            "https://example.org\n/a",
            "https://example.org/\u{202e}gpj",
            "https://exa mple.org/a",
            "me@host:\0",
        ] {
            let why = GitUrl::parse(url).unwrap_err();
            assert!(why.contains("it must be https://…, ssh://…, user@host:path"), "{url}: {why}");
            assert!(!why.contains('\n') && !why.contains('\u{202e}'), "{why}");
        }
        assert!(GitUrl::parse(&format!("https://h/{}", "x".repeat(URL_BYTES_MAX))).unwrap_err().len() < 400);
        let why = GitUrl::parse("https://me:secret@exa mple.org/a").unwrap_err();
        assert!(!why.contains("secret"), "{why}");
    }

    #[test]
    fn what_people_see_of_an_address_holds_no_password() {
        for (url, seen) in [
            ("https://me:secret@example.org/a.git", "https://***@example.org/a.git"),
            ("https://token@example.org/a.git", "https://***@example.org/a.git"),
            ("ssh://git@example.org/a.git", "ssh://git@example.org/a.git"),
            ("git@example.org:a.git", "git@example.org:a.git"),
        ] {
            assert_eq!(without_password(url), seen);
        }
    }
}
