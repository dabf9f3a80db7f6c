//! A line of a log as the page reads it: only text of the line comes out, no control character is left, and only http and https lead
//! anywhere.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../app/src/components/ansi.rs"]
#[allow(dead_code)]
mod ansi;
#[path = "../../app/src/components/log_links.rs"]
#[allow(dead_code)]
mod log_links;

fuzz_target!(|line: &str| {
    let mut rest = line.chars();
    for run in ansi::runs(line) {
        assert!(!run.text.is_empty());
        for shown in run.text.chars() {
            assert!(!shown.is_control() || shown == '\t', "{shown:?}");
            assert!(rest.any(|printed| printed == shown), "text that was not printed, or not in this order");
        }
        let looks = format!("{} {}", run.style.class(), run.style.properties().unwrap_or_default());
        assert!(looks.chars().all(|c| c.is_ascii_alphanumeric() || " -:;()".contains(c)), "{looks}");
        let mut from = 0;
        for (first, end) in log_links::links(&run.text) {
            assert!(from <= first && first < end);
            let address = &run.text[first..end];
            assert!(address.starts_with("http://") || address.starts_with("https://"), "{address}");
            from = end;
        }
    }
});
