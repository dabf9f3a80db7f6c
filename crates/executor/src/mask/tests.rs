//! What the masker finds, and what it leaves alone.

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD},
};

use super::*;

fn masker(secrets: &[&str]) -> Masker {
    Masker::new(secrets.iter().copied()).unwrap()
}

fn masked(masker: &Masker, chunks: &[&[u8]]) -> String {
    let (mut stream, mut out) = (masker.stream(), Vec::new());
    let mut keep = |part: Masked<'_>| out.extend_from_slice(part.bytes());
    chunks.iter().for_each(|chunk| stream.feed(chunk, &mut keep));
    stream.end(&mut keep);
    String::from_utf8(out).unwrap()
}

/// The same, whole and byte by byte.
fn all(secrets: &[&str], text: &str) -> String {
    all_by(&masker(secrets), text)
}

fn all_by(masker: &Masker, text: &str) -> String {
    let whole = masked(masker, &[text.as_bytes()]);
    let single: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
    assert_eq!(masked(masker, &single), whole, "{text:?}, byte by byte");
    assert_eq!(masker.owned(text.to_owned()), whole, "{text:?}, as a text");
    whole
}

#[test]
fn what_is_no_secret_stays_as_it_is_and_is_not_held_back() {
    let masker = Masker::new(["s3cret-value"]).unwrap();
    let (mut stream, mut out) = (masker.stream(), Vec::new());
    stream.feed(b"Continue? [y/n] ", &mut |part| out.extend_from_slice(part.bytes()));
    assert_eq!((&out[..], stream.held()), (&b"Continue? [y/n] "[..], 0));
    stream.feed(b"Password: s3c", &mut |part| out.extend_from_slice(part.bytes()));
    assert_eq!((&out[..], stream.held()), (&b"Continue? [y/n] Password: "[..], 3));
    stream.feed(b"ure\n", &mut |part| out.extend_from_slice(part.bytes()));
    assert_eq!((&out[..], stream.held()), (&b"Continue? [y/n] Password: s3cure\n"[..], 0));
}

#[test]
fn the_end_of_a_line_is_not_held_back_for_what_might_be_wrapped() {
    // `cz` is how this secret begins in base64.
    let masker = Masker::new(["s3cret-value"]).unwrap();
    for line in ["first c\n", "second cz\n", "hex 7\n", "hex 73\n", "raw s3\n"] {
        let mut stream = masker.stream();
        stream.feed(line.as_bytes(), &mut |_| {});
        assert_eq!(stream.held(), 0, "{line:?}");
    }
}

#[test]
fn a_secret_is_known_in_all_the_forms_in_which_programs_print_it() {
    let secret = r#"p4$$"w/rd\ +é'<x>"#;
    for form in [
        r#"p4$$"w/rd\ +é'<x>"#,
        r#"p4$$\"w/rd\\ +é'<x>"#,
        r#"p4$$\"w\/rd\\ +\u00e9'<x>"#,
        r#"p4$$\u0022w\u002Frd\u005c +\u00E9\u0027\u003cx\u003e"#,
        r#"p4$$\"w/rd\\ +\u{e9}'<x>"#,
        r#"p4$$\"w/rd\\ +\\u{E9}\u{27}<x>"#,
        r#"p4$$\\\"w/rd\\\\ +é'<x>"#,
        r#"p4$$"w/rd\ +é'\''<x>"#,
        r#"p4$$"w/rd\ +é'"'"'<x>"#,
        r#"p4\$\$\"w/rd\\\ +é\'\<x\>"#,
        "p4%24%24%22w%2Frd%5C%20%2B%C3%A9%27%3Cx%3E",
        "p4%24%24%22w%2frd%5c+%2b%c3%a9%27%3cx%3e",
        "%70%34%24%24%22%77%2F%72%64%5C%20%2B%C3%A9%27%3C%78%3E",
        "p4$$&quot;w/rd\\ +é&#39;&lt;x&gt;",
        r#"p4$$"w/rd\\ +\303\251\'<x>"#,
        r#"p4$$"w/rd\\ +\xc3\xa9\x27<x>"#,
        "70342424 22772f72 645c202b c3a9273c 783e",
        "70:34:24:24:22:77:2f:72:64:5c:20:2b:c3:a9:27:3c:78:3e",
        "70342424227772".replace("7772", "772F72645C202BC3A9273C783E").as_str(),
        "p4$$\"\x1b[01;31m\x1b[Kw/rd\x1b[m\x1b[K\\ +é'<x>",
    ] {
        assert_eq!(all(&[secret], &format!("before {form} after\n")), "before *** after\n", "{form:?}");
    }
}

#[test]
fn base64_is_known_at_every_alignment_with_and_without_padding_and_wrapped_anywhere() {
    let secret = "s3cret>>?value??";
    let masker = masker(&[secret]);
    for before in ["", "u", "us", "user:", "user1:", "user12:"] {
        for after in ["", "@", "@h", "@ho", "@host"] {
            let text = format!("{before}{secret}{after}");
            for encoded in [
                STANDARD.encode(&text),
                STANDARD_NO_PAD.encode(&text),
                URL_SAFE.encode(&text),
                URL_SAFE_NO_PAD.encode(&text),
                STANDARD.encode(&text).replace('+', "%2B").replace('/', "%2f"),
                STANDARD.encode(&text).replace('/', r"\/"),
            ] {
                let shown = all_by(&masker, &encoded);
                assert!(shown.contains(MASK), "{text:?} as {encoded:?}");
                // What is left are digits that hold nothing of it.
                assert!(
                    shown.len() <= MASK.len() + (before.len() + after.len()) * 4 / 3 + 6,
                    "{encoded} became {shown}"
                );
            }
            let encoded = STANDARD.encode(&text);
            for width in 1..encoded.len() {
                let parts: Vec<&str> = [&encoded[..width], &encoded[width..]].to_vec();
                for line_break in ["\n", "\r\n", "\n    ", r"\n"] {
                    let shown = all_by(&masker, &parts.join(line_break));
                    let whole = all_by(&masker, &encoded);
                    // At most two digits, cut off from the rest, are left.
                    assert!(shown.len() <= whole.len() + line_break.len() + 2, "{width}: {shown:?}");
                }
            }
        }
    }
}

#[test]
fn a_secret_of_many_lines_is_known_as_a_whole_line_by_line_and_wrapped() {
    let key = "-----BEGIN KEY-----\r\nMIIEpAIBAAKCAQEA7bq0\nq8RZ2yWcLw==\n-----END KEY-----\n";
    assert_eq!(all(&[key], &format!("a\n{key}b\n")), "a\n***\nb\n");
    assert_eq!(all(&[key], "> MIIEpAIBAAKCAQEA7bq0\n> q8RZ2yWcLw==\n"), "> ***\n> ***\n");
    assert_eq!(
        all(&[key], r#""-----BEGIN KEY-----\nMIIEpAIBAAKCAQEA7bq0\nq8RZ2yWcLw==\n-----END KEY-----\n""#),
        r#""***\n""#
    );
    // As steps get it, and as it is where something has changed its line ends.
    for text in [key.to_owned(), secret::core(key)] {
        let encoded = STANDARD.encode(text.trim());
        // A digit holds the last bits alone, and padding nothing: they may be left.
        assert!(all(&[key], &encoded).len() <= MASK.len() + 2);
        // Behind bytes of something else, and with the line break that is not its own.
        for before in ["u", "us", "use"] {
            let shown = all(&[key], &STANDARD.encode(format!("{before}{text}")));
            assert!(shown.contains(MASK) && shown.len() <= MASK.len() + 12, "{before}: {shown}");
        }
        for width in [64, 76] {
            let lines: Vec<&str> =
                encoded.as_bytes().chunks(width).map(|part| std::str::from_utf8(part).unwrap()).collect();
            assert!(lines.len() > 1, "{encoded}");
            let shown = all(&[key], &lines.join("\n"));
            assert!(shown.starts_with(MASK) && shown.len() <= MASK.len() + 2, "wrapped at {width}: {shown}");
        }
        assert_eq!(all(&[key], &hex(text.trim(), "")), MASK);
        assert_eq!(all(&[key], &hex(text.trim(), ":")), ":***");
        assert_eq!(all(&[key], &hex(text.trim(), "%")), "***");
        assert_eq!(all(&[key], &hex(text.trim(), r"\x")), "***");
    }
}

/// Each byte in hex, `before` in front of it.
fn hex(text: &str, before: &str) -> String {
    text.bytes().map(|byte| format!("{before}{byte:02x}")).collect()
}

#[test]
fn secrets_that_overlap_leave_nothing_of_each_other() {
    assert_eq!(all(&["abcdef", "defghi"], "xabcdefghix"), "x***x");
    assert_eq!(all(&["abcd", "abcdefgh"], "abcdefgh abcdefg"), "*** ***efg");
    assert_eq!(all(&["abcd"], "abcdabcd"), "******");
    assert_eq!(all(&["aaaab"], "aaaaaaaab"), "aaaa***");
}

/// Feeds `first`, then more of `again` than may be held; tells how many bytes were held at most.
fn held(masker: &Masker, first: &str, again: &str) -> usize {
    let (mut stream, mut held) = (masker.stream(), 0);
    stream.feed(first.as_bytes(), &mut |_| {});
    let printed = again.repeat((stream::HELD_BYTES_MAX * 3 / 2).div_ceil(again.len()));
    for chunk in printed.as_bytes().chunks(500) {
        stream.feed(chunk, &mut |_| {});
        held = held.max(stream.held());
    }
    held
}

#[test]
fn what_is_held_back_has_a_limit_whatever_is_printed() {
    let long: String = (0..40_000).map(|n| char::from(b'!' + (n * 7 % 90) as u8)).collect();
    let secrets = ["aaaaaaaa", "s3cret-value", "Zq9 x", &long];
    let masker = masker(&secrets);
    let encoded = STANDARD.encode("s3cret-value");
    for (first, again) in [
        ("s3", "\x1b[m"),
        (&encoded[..6], "\x1b[m"),
        (&encoded[..6], r"\n"),
        (&encoded[..6], "\r\n\t "),
        (&encoded[..6], "\\n\x1b[0m\n"),
        ("7333 63", "\x1b[m "),
        ("7333", " : "),
        ("", "a"),
        ("", "abcaaaaaaaaaaaaaaaaaaaaaa"),
        ("", &long),
        ("", &STANDARD.encode(&long)),
        ("", &long.replace('a', "a\x1b[m")),
        ("", "YWFhYWFhYWFh\n"),
    ] {
        let most = held(&masker, first, again);
        assert!(most <= stream::HELD_BYTES_MAX, "{again:?} behind {first:?}: {most} bytes");
    }
    // A reading that is given up for it leaves what may stand in between.
    let grep = |gap: &str| format!("s3{gap}cret-value");
    assert_eq!(all(&secrets, &grep(&"\x1b[m\x1b[K".repeat(8))), MASK);
    assert_eq!(all(&["s3cret-value"], &grep(&"\x1b[m".repeat(17))), grep(&"\x1b[m".repeat(17)));
}

#[test]
fn one_mask_stands_for_what_goes_on_though_it_is_given_out_before_its_end() {
    let masker = masker(&["aaaaaaaa", &"0123456789abcdef".repeat(8)]);
    let (mut stream, mut out) = (masker.stream(), Vec::new());
    for _ in 0..100 {
        stream.feed(b"aaa", &mut |part| out.extend_from_slice(part.bytes()));
    }
    assert_eq!(String::from_utf8_lossy(&out), MASK);
    stream.feed(b"b", &mut |part| out.extend_from_slice(part.bytes()));
    assert_eq!(String::from_utf8_lossy(&out), "***b");
    let long = "0123456789abcdef".repeat(8);
    assert_eq!(all_by(&masker, &format!("<{long}><{}>", &long[..100])), "<***><***>");
    assert_eq!(all_by(&masker, &format!("{}{long}", &long[..48])), "***");
}

#[test]
fn a_long_secret_that_was_cut_short_is_known_too() {
    let secret: String = (0..200).map(|n| char::from(b'!' + (n * 7 % 90) as u8)).collect();
    assert_eq!(all(&[&secret], &format!("{}\n", &secret[..150])), "***\n");
    assert_eq!(all(&[&secret], &format!("{}\n", &secret[..31])), format!("{}\n", &secret[..31]));
}

#[test]
fn of_many_secrets_that_begin_alike_each_is_masked_to_its_end() {
    let alike = "they-all-begin-with-these-forty-characters";
    let lines: Vec<String> = (0..400).map(|n| format!("{alike}-{n:03}-{}", n * 7919)).collect();
    let masker = masker(&[&lines.join("\n")]);
    for line in [&lines[0], &lines[255], &lines[399]] {
        assert_eq!(masker.owned(format!("is {line}.")), "is ***.");
    }
}

#[test]
fn white_space_around_a_secret_is_not_its_own() {
    assert_eq!(all(&["  s3cret\n"], "a s3cret b"), "a *** b");
}

#[test]
fn what_cannot_be_masked_is_refused() {
    for value in ["", "abc", " \n\t  \n", "\n\nab\r\n", "a\0bcdefg"] {
        assert!(Masker::new([value]).is_err(), "{value:?}");
    }
}

#[test]
fn every_text_of_an_event_is_masked() {
    let masker = Masker::new(["s3cret"]).unwrap();
    let line = |text: &str| wire::LogLine {
        n: 0,
        t: wire::Timestamp(0),
        text: text.to_owned(),
        open: false,
        split: false,
        err: false,
        note: false,
    };
    let artifact = wire::ArtifactId(uuid::Uuid::nil());
    for event in [
        Event::StepStarted { step: 0, name: "say s3cret".to_owned(), command: "echo s3cret".to_owned() },
        Event::Log { step: 0, lines: vec![line("fine"), line("czNjcmV0 s3cret")] },
        Event::StepFinished {
            step: 0,
            outcome: wire::Outcome::Failed,
            exit_code: None,
            reason: Some("no s3cret".to_owned()),
        },
        Event::Artifact { artifact, name: "s3cret.txt".to_owned(), size: 0, sha256: String::new() },
    ] {
        let json = serde_json::to_string(&*masker.event(&event)).unwrap();
        assert!(json.contains(MASK) && !json.contains("s3cret") && !json.contains("czNjcmV0"), "{json}");
    }
}

/// As it stands in a text in JSON.
fn json(text: &str) -> String {
    let quoted = serde_json::to_string(text).unwrap();
    quoted[1..quoted.len() - 1].to_owned()
}

/// Numbers that look random, the same in each run (xorshift64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % end as u64).unwrap()
    }
}

#[test]
fn any_way_to_cut_the_text_gives_the_same_and_no_form_of_a_secret_survives() {
    const ALPHABET: [&str; 18] =
        ["a", "b", "A", "0", "7", "\n", "\r\n", " ", "\"", "\\", "/", "%", "+", "'", "é", "😀", "$", "="];
    for seed in 1..=400_u64 {
        let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let secrets: Vec<String> = (0..=dice.below(3))
            .map(|_| (0..4 + dice.below(60)).map(|_| ALPHABET[dice.below(ALPHABET.len())]).collect::<String>())
            .filter(|value| secret::check_value(value).is_ok())
            .collect();
        let mut text = String::new();
        let mut encoded = Vec::new();
        for _ in 0..12 {
            (0..dice.below(6)).for_each(|_| text.push_str(ALPHABET[dice.below(ALPHABET.len())]));
            let Some(value) = secrets.get(dice.below(4)) else { continue };
            // As steps get it, or with other line ends.
            let core = if dice.below(2) == 0 { secret::core(value) } else { value.trim().to_owned() };
            let form = match dice.below(7) {
                0 => core.clone(),
                1 => json(&core),
                2 => core.bytes().map(|byte| format!("%{byte:02X}")).collect(),
                3 => STANDARD_NO_PAD.encode(&core),
                4 => URL_SAFE.encode(format!("{}{core}", &"xy"[..dice.below(3)])),
                5 => core.bytes().map(|byte| format!("{byte:02x}")).collect(),
                _ => core.chars().take(core.chars().count() / 2).collect(),
            };
            text.push_str(&form);
            encoded.push(core);
        }
        let secrets: Vec<&str> = secrets.iter().map(String::as_str).collect();
        let masker = masker(&secrets);
        let whole = masked(&masker, &[text.as_bytes()]);
        for _ in 0..8 {
            let (mut rest, mut chunks) = (text.as_bytes(), Vec::new());
            while !rest.is_empty() {
                let (chunk, others) = rest.split_at(1 + dice.below(rest.len().min(40)));
                chunks.push(chunk);
                rest = others;
            }
            assert_eq!(masked(&masker, &chunks), whole, "seed {seed}");
        }
        for core in encoded {
            let hex: String = core.bytes().map(|byte| format!("{byte:02x}")).collect();
            let percent: String = core.bytes().map(|byte| format!("%{byte:02X}")).collect();
            for form in [core.clone(), hex, percent, json(&core)] {
                assert!(!whole.contains(&form), "seed {seed}: {form:?} in {whole:?}");
            }
            // The last digit holds bits of what follows.
            let base64 = STANDARD_NO_PAD.encode(&core);
            assert!(!whole.contains(&base64[..base64.len() - 1]), "seed {seed}: {base64:?} in {whole:?}");
        }
    }
}

/// Prints what masking costs; for figures that mean something, `STEPCAST_TEST_ALL=1`, optimised and with `--nocapture`.
#[test]
fn a_log_is_whole_with_and_without_secrets_and_tells_its_throughput() {
    use std::time::Instant;
    let count_of_lines =
        if std::env::var_os("STEPCAST_TEST_ALL").is_some_and(|all| all == "1") { 200_000 } else { 2_000 };
    let lines: String = (0..count_of_lines)
        .map(|n| format!("   Compiling crate-{n} v0.{n}.1 (/home/builder/src/crate-{n}) in {n}.3 s, warnings: {n}\n"))
        .collect();
    let secrets: Vec<String> = (0..10).map(|n| format!("ghp_{n}aB3{n}dE6fG7hI{n}jK9mN0pQ2rS3tU4vW5xY{n}")).collect();
    for count in [0, 1, 10] {
        let masker = Masker::new(secrets[..count].iter().map(String::as_str)).unwrap();
        let begun = Instant::now();
        let (mut log, mut bytes, mut seen) = (crate::log::Log::new(u64::MAX, &masker), 0, 0);
        for chunk in lines.as_bytes().chunks(64 * 1024) {
            log.feed(crate::log::Stream::Out, chunk, wire::Timestamp(1), begun, &mut |lines| {
                seen += lines.len();
                let event = Event::Log { step: 0, lines };
                bytes += wire::event::raw(&masker.event(&event)).get().len();
            });
        }
        let seconds = begun.elapsed().as_secs_f64();
        println!(
            "{count} secrets: {:.0} lines/s, {:.0} MB/s",
            seen as f64 / seconds,
            lines.len() as f64 / seconds / 1e6
        );
        log.close(wire::Timestamp(1), begun, &mut |lines| seen += lines.len());
        assert!(seen == count_of_lines && bytes > 0, "{seen} lines");
    }
}

/// Prints what making a masker costs; for figures that mean something, optimised and with `--nocapture`.
#[test]
fn making_a_masker_grows_with_the_lines_of_secrets_and_no_faster() {
    let cpu = || {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
    };
    // Different lines that begin alike are the worst. More than a job may have, for the difference to show.
    let make = |lines: usize| {
        let value: String = (0..lines).map(|n| format!("AAAA-{n}\n")).collect();
        let begun = cpu();
        let mut forms = Forms::default();
        forms.add(&value);
        let filter = Filter::new(&forms);
        let seconds = cpu() - begun;
        println!("{lines} lines: {seconds:.3} s of the processor");
        // Each state of a place stands there once.
        let begun = filter.begun(b"AAAA").len();
        assert!((lines..lines + 20).contains(&begun), "{lines} lines: {begun} states");
        seconds / lines as f64
    };
    // The least of up to five each: what else the machine does makes any of them slower.
    let mut made = [f64::INFINITY; 2];
    let grows_no_faster = (0..5).any(|_| {
        made = [made[0].min(make(250)), made[1].min(make(8_000))];
        made[1] < made[0] * 4.0
    });
    assert!(grows_no_faster, "{made:?} s a line");
}
