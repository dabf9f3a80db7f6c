//! The environment of steps. A list of what is passed on, not of what is held back: the server's own variables
//! (credentials of the broker and the store among them) never reach a step.

use std::collections::BTreeMap;

use wire::task::{Grant, LeaseRef};

use crate::host::sandbox::Sandbox;

/// Passed on from the executor: what shells, compilers and version control expect of a person's account.
const PASSED_ON: [&str; 24] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "LANG",
    "LANGUAGE",
    "LC_ALL",
    "LC_CTYPE",
    "TZ",
    "TMPDIR",
    "CARGO_HOME",
    "RUSTUP_HOME",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "SSH_AUTH_SOCK",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "all_proxy",
];

/// Of these, what names something that is not there in a sandbox, or not the same.
const NOT_IN_SANDBOX: [&str; 3] = ["TMPDIR", "CARGO_HOME", "SSH_AUTH_SOCK"];

/// Where nothing says where programs are.
const PATH_DEFAULT: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What every step of an attempt sees. A step's own variables come on top.
pub(crate) fn of_job(grant: &Grant, sandbox: Option<&Sandbox>) -> BTreeMap<String, String> {
    let mut env = BTreeMap::from([
        ("PATH".to_owned(), PATH_DEFAULT.to_owned()),
        // Colours are a program's own decision; nobody moves a cursor in a log.
        ("TERM".to_owned(), "dumb".to_owned()),
    ]);
    env.extend(PASSED_ON.into_iter().filter_map(|name| Some((name.to_owned(), std::env::var(name).ok()?))));
    if let Some(sandbox) = sandbox {
        for name in NOT_IN_SANDBOX {
            env.remove(name);
        }
        env.extend(sandbox.environment());
    }
    told(&mut env, grant);
    env
}

/// What the pipeline says, and what is said of the attempt.
fn told(env: &mut BTreeMap<String, String>, grant: &Grant) {
    env.extend(grant.env.clone());
    env.insert("CI".to_owned(), "true".to_owned());
    let about = [
        ("STEPCAST_BUILD", grant.build.to_string()),
        ("STEPCAST_NUMBER", grant.number.to_string()),
        ("STEPCAST_PIPELINE", grant.pipeline.to_string()),
        ("STEPCAST_JOB", grant.lease.job.to_string()),
        ("STEPCAST_JOB_NAME", grant.job_name.clone()),
        ("STEPCAST_ATTEMPT", grant.lease.attempt.to_string()),
    ];
    env.extend(about.map(|(name, value)| (name.to_owned(), value)));
}

/// What every step of an attempt sees in a container besides what its image says (PATH among it). Of the executor's own
/// variables only the way to the network is passed on: the rest tells of another machine.
pub(crate) fn of_container(grant: &Grant) -> BTreeMap<String, String> {
    let proxies = PASSED_ON.into_iter().filter(|name| name.to_ascii_uppercase().ends_with("_PROXY"));
    let mut env = BTreeMap::from([("TERM".to_owned(), "dumb".to_owned())]);
    // The checkout is another user's; Git is to trust it all the same.
    let trust = [("COUNT", "1"), ("KEY_0", "safe.directory"), ("VALUE_0", "*")];
    env.extend(trust.map(|(name, value)| (format!("GIT_CONFIG_{name}"), value.to_owned())));
    env.extend(proxies.filter_map(|name| Some((name.to_owned(), std::env::var(name).ok()?))));
    told(&mut env, grant);
    env
}

/// Entries of [`of_job`] that together name the attempt, as `NAME=value`.
pub(crate) fn marks(attempt: LeaseRef) -> [String; 2] {
    [format!("STEPCAST_JOB={}", attempt.job), format!("STEPCAST_ATTEMPT={}", attempt.attempt)]
}
