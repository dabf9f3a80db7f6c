//! What a step prints, cut anywhere: the masked text is the same for every way to cut it, and no form of the secret is left.
#![no_main]

use executor::fuzz::mask;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&str, &[u8], &[u8])| {
    let (secret, text, cuts) = input;
    if secret.len() > 200 {
        return;
    }
    let Some(whole) = mask(&[secret], &[text]) else { return };
    let (mut rest, mut chunks) = (text, Vec::new());
    for cut in cuts {
        let (chunk, others) = rest.split_at(usize::from(*cut).min(rest.len()));
        chunks.push(chunk);
        rest = others;
    }
    chunks.push(rest);
    assert_eq!(mask(&[secret], &chunks).as_deref(), Some(&whole[..]));
    let core = wire::secret::core(secret);
    // A secret of asterisks may stand in what hides it.
    if !core.contains('*') {
        assert!(!whole.windows(core.len()).any(|window| window == core.as_bytes()), "the secret is left");
    }
});
