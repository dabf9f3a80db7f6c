//! Passwords: hashed with Argon2id under the parameters that OWASP's Password Storage Cheat Sheet names first for it (19 MiB,
//! two passes, one lane), compared in constant time, and never kept or logged.
//!
//! A hash takes memory and time on purpose. So few are computed at once, few wait for their turn, and who comes when
//! there are enough is told to come back: a flood of sign-ins takes neither the memory nor the threads.

use std::sync::{
    LazyLock,
    atomic::{AtomicUsize, Ordering},
};

use argon2::{
    Algorithm, Argon2, Params, PasswordHash, PasswordHasher as _, PasswordVerifier as _, Version,
    password_hash::SaltString,
};
use tokio::sync::Semaphore;
use wire::Problem;

use crate::secret;

/// KiB of memory, passes and lanes of one hash.
const PARAMETERS: (u32, u32, u32) = (19 * 1024, 2, 1);
/// Hashes that are computed at once: 38 MiB.
const AT_ONCE: usize = 2;
/// Hashes that wait for their turn.
const WAITING_MAX: usize = 32;
/// Who comes when so many wait is to come back after so many seconds.
const RETRY_SECONDS: u64 = 5;

static TURNS: Semaphore = Semaphore::const_new(AT_ONCE);
static WAITING: AtomicUsize = AtomicUsize::new(0);

/// The hash of no password that anybody has: what a name without an account is compared with, so that it takes as long.
static NOBODYS: LazyLock<Result<String, String>> = LazyLock::new(|| {
    let random = secret::hex(&secret::random()?);
    hash_now(&random)
});

fn argon2() -> Result<Argon2<'static>, String> {
    let (memory, passes, lanes) = PARAMETERS;
    let parameters = Params::new(memory, passes, lanes, None).map_err(|failure| failure.to_string())?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, parameters))
}

fn hash_now(password: &str) -> Result<String, String> {
    let salt = SaltString::encode_b64(&secret::random()?[..16]).map_err(|failure| failure.to_string())?;
    let hash = argon2()?.hash_password(password.as_bytes(), &salt).map_err(|failure| failure.to_string())?;
    Ok(hash.to_string())
}

/// False for a hash that cannot be read, too: nobody gets in by one.
fn verify_now(password: &str, hash: &str) -> Result<bool, String> {
    let parsed = PasswordHash::new(hash).map_err(|failure| format!("a password's hash cannot be read: {failure}"))?;
    Ok(argon2()?.verify_password(password.as_bytes(), &parsed).is_ok())
}

/// The hash under which a password is kept.
///
/// # Errors
/// 503 with the seconds to wait when too many ask.
pub(crate) async fn hash(password: String) -> Result<String, Problem> {
    in_turn(move || hash_now(&password)).await
}

/// Whether this is the password; never, if nobody has the name, and it takes as long.
///
/// # Errors
/// As [`hash`].
pub(crate) async fn verify(password: String, hash: Option<String>) -> Result<bool, Problem> {
    in_turn(move || match hash {
        Some(hash) => verify_now(&password, &hash),
        None => verify_now(&password, NOBODYS.as_ref().map_err(Clone::clone)?).map(|_| false),
    })
    .await
}

/// On a thread that may block, when it has its turn. The turn is held by the computation itself: a request that is given up
/// meanwhile does not make room for another one.
async fn in_turn<T: Send + 'static>(
    compute: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, Problem> {
    let waiting = Waiting::begin().ok_or_else(|| {
        let sentence = format!("Too many sign in now: try again in {RETRY_SECONDS} seconds.");
        Problem::new(503, "Too many sign in", sentence)
    })?;
    let turn = TURNS.acquire().await; // Never closed.
    let computed = tokio::task::spawn_blocking(move || {
        let (_turn, _waiting) = (turn, waiting);
        compute()
    });
    let failed = |failure: String| {
        tracing::error!(failure, "a password cannot be hashed");
        Problem::new(500, "Internal error", "The password cannot be looked at now; the server's log tells more.")
    };
    computed.await.map_err(|failure| failed(failure.to_string()))?.map_err(failed)
}

/// Counts who waits or computes.
struct Waiting;

impl Waiting {
    fn begin() -> Option<Self> {
        let may = |waiting| (waiting < AT_ONCE + WAITING_MAX).then_some(waiting + 1);
        WAITING.fetch_update(Ordering::Relaxed, Ordering::Relaxed, may).is_ok().then(|| Self)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        WAITING.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One after the other: they share the turns.
    #[tokio::test]
    async fn a_password_is_known_by_its_hash_alone_and_of_a_flood_few_are_computed() {
        known_by_its_hash().await;
        flood().await;
    }

    async fn known_by_its_hash() {
        let kept = hash("three blue kettles".to_owned()).await.unwrap();
        assert!(kept.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{kept}");
        assert_ne!(kept, hash("three blue kettles".to_owned()).await.unwrap(), "each has its own salt");
        assert!(verify("three blue kettles".to_owned(), Some(kept.clone())).await.unwrap());
        assert!(!verify("three blue kettle".to_owned(), Some(kept)).await.unwrap());
        assert!(!verify("three blue kettles".to_owned(), None).await.unwrap());
        assert_eq!(verify("x".to_owned(), Some("x".to_owned())).await.unwrap_err().status, 500);
    }

    /// The rest is told to come back.
    async fn flood() {
        let (let_go, wait) = std::sync::mpsc::channel::<()>();
        let wait = std::sync::Arc::new(std::sync::Mutex::new(wait));
        let held: Vec<_> = (0..AT_ONCE + WAITING_MAX)
            .map(|_| {
                let wait = std::sync::Arc::clone(&wait);
                Box::pin(in_turn(move || wait.lock().unwrap().recv().map_err(|gone| gone.to_string())))
            })
            .collect();
        let mut held = held;
        for one in &mut held {
            assert!(futures_util::poll!(one.as_mut()).is_pending());
        }
        assert_eq!(in_turn(|| Ok(())).await.unwrap_err().status, 503);
        drop(let_go);
        for one in held {
            assert_eq!(one.await.unwrap_err().status, 500);
        }
        assert!(in_turn(|| Ok(())).await.is_ok(), "there is room again");
    }
}
