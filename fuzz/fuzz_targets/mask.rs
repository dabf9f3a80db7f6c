//! What a step prints, cut anywhere: the masked text is the same for every way to cut it, and the secret is not left, neither as it is nor
//! in base64, in hex nor percent-encoded; and what is held back has a limit. An input is a secret, where to cut and what is printed, with a NUL between them.
#![no_main]

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use executor::fuzz::{HELD_BYTES_MAX, mask};
use libfuzzer_sys::fuzz_target;

/// A longer secret finds nothing that a shorter one does not, and takes its time.
const SECRET_BYTES_MAX: usize = 200;

fuzz_target!(|input: &[u8]| {
    let mut parts = input.splitn(3, |byte| *byte == 0);
    let (Some(secret), Some(cuts), Some(text)) = (parts.next(), parts.next(), parts.next()) else { return };
    let Ok(secret) = std::str::from_utf8(secret) else { return };
    if secret.len() > SECRET_BYTES_MAX {
        return;
    }
    // As steps get it, and as it is where something has changed its line ends.
    let forms = [secret.trim().to_owned(), wire::secret::core(secret)].map(|value| {
        [
            STANDARD_NO_PAD.encode(&value),
            value.bytes().map(|byte| format!("{byte:02x}")).collect(),
            value.bytes().map(|byte| format!("%{byte:02X}")).collect(),
            value.bytes().map(|byte| format!("%{byte:02x}")).collect(),
            value,
        ]
    });
    let forms = forms.as_flattened();
    // What is printed, alone and with each form within it: chance alone hardly ever makes one.
    let (before, after) = text.split_at(cuts.first().map_or(0, |cut| usize::from(*cut).min(text.len())));
    let printed = forms.iter().map(|form| [before, form.as_bytes(), after].concat());
    for text in std::iter::once(text.to_vec()).chain(printed) {
        let Some((whole, held)) = mask(&[secret], &[&text[..]]) else { return };
        assert!(held <= HELD_BYTES_MAX, "{held} bytes are held back");
        let (mut rest, mut chunks) = (&text[..], Vec::new());
        for cut in cuts {
            let (chunk, others) = rest.split_at(usize::from(*cut).min(rest.len()));
            chunks.push(chunk);
            rest = others;
        }
        chunks.push(rest);
        let (in_chunks, held) = mask(&[secret], &chunks).unwrap_or_default();
        assert_eq!(in_chunks, whole);
        assert!(held <= HELD_BYTES_MAX, "{held} bytes are held back");
        for form in forms {
            // One with an asterisk may stand in what hides it.
            let is_left = whole.windows(form.len()).any(|window| window == form.as_bytes());
            assert!(form.contains('*') || !is_left, "{form:?} is left in {:?}", String::from_utf8_lossy(&whole));
        }
    }
});
