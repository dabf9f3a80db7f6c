//! Whether the limits of a job hold in its container: engines leave out what they cannot hold, and not every one says so.
//! What is asked of them is in [`super::life`].

use serde_json::Value;
use wire::Limits;

use crate::{SANDBOX_PROCESSES, engine::on_one_line};

/// Which limit of the job would not hold in a container that was made with these warnings and is described so (by its
/// `HostConfig`); one sentence. That the usual number of processes is no limit is no reason: see [`usual_holds`].
pub(super) fn not_held(warnings: &Value, made: &Value, limits: Limits) -> Option<String> {
    warned(warnings, limits).or_else(|| left_out(made, limits))
}

/// Whether the number of processes that a container has unless told otherwise is its limit.
pub(super) fn usual_holds(made: &Value, limits: Limits) -> bool {
    limits.processes.is_none() || made["PidsLimit"].as_u64().is_some_and(|most| most > 0)
}

/// The number of processes, where somebody has chosen it.
fn chosen_processes(limits: Limits) -> Option<u64> {
    limits.processes.filter(|most| *most != SANDBOX_PROCESSES)
}

/// Docker warns. A limit of memory that does not count what is swapped is none.
fn warned(warnings: &Value, limits: Limits) -> Option<String> {
    let said = warnings.as_array()?.iter().filter_map(Value::as_str).map(str::to_lowercase);
    let is_about = |said: &String| {
        (limits.memory.is_some() && ["memory limit", "swap"].iter().any(|word| said.contains(word)))
            || (chosen_processes(limits).is_some() && said.contains("pids limit"))
    };
    let is_left_out =
        |said: &String| ["discarded", "ignored", "without swap", "swap limit"].iter().any(|words| said.contains(words));
    said.filter(is_left_out)
        .find(is_about)
        .map(|said| format!("a limit of the job would not hold: {}", on_one_line(&said)))
}

/// Podman of a common user says nothing.
fn left_out(made: &Value, limits: Limits) -> Option<String> {
    let is = |name: &str, value: u64| made[name].as_u64() == Some(value);
    // `fsize` for Docker is `RLIMIT_FSIZE` for Podman.
    let bounds = |name: &str, value: u64| {
        let mut ulimits = made["Ulimits"].as_array().into_iter().flatten();
        ulimits.any(|ulimit| {
            ulimit["Name"].as_str().is_some_and(|known| known.to_lowercase().ends_with(name))
                && ulimit["Hard"].as_u64() == Some(value)
        })
    };
    let holds = [
        ("memory", limits.memory.is_none_or(|most| is("Memory", most) && is("MemorySwap", most))),
        ("processes", chosen_processes(limits).is_none() || usual_holds(made, limits)),
        ("file_size", limits.file_size.is_none_or(|most| bounds("fsize", most))),
        ("open_files", limits.open_files.is_none_or(|most| bounds("nofile", most))),
    ];
    let (name, _) = holds.into_iter().find(|(_, holds)| !holds)?;
    Some(format!("the job's limit `{name}` would not hold: the container engine has left it out"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ALL: Limits =
        Limits { memory: Some(64 << 20), processes: Some(50), file_size: Some(9), open_files: Some(64) };

    #[test]
    fn a_limit_that_an_engine_warns_of_is_no_limit() {
        let warnings = json!([
            "Your kernel does not support memory limit capabilities or the cgroup is not mounted. Limitation discarded."
        ]);
        let limits = Limits { memory: Some(1), ..Limits::default() };
        assert!(not_held(&warnings, &Value::Null, limits).unwrap().contains("limitation discarded"));
        assert_eq!(not_held(&warnings, &Value::Null, Limits::default()), None);
        assert_eq!(warned(&Value::Null, limits), None);
        for swaps in [
            "Your kernel does not support swap limit capabilities or the cgroup is not mounted. Memory limited without swap.",
            "Your kernel does not support swap limit capabilities",
        ] {
            assert!(warned(&json!([swaps]), limits).is_some(), "{swaps}");
            assert_eq!(warned(&json!([swaps]), Limits { processes: Some(1), ..Limits::default() }), None);
        }
    }

    #[test]
    fn a_limit_that_an_engine_leaves_out_without_a_word_is_none() {
        let of = |fsize: &str, nofile: &str| {
            let ulimits = json!([{"Name": nofile, "Soft": 64, "Hard": 64}, {"Name": fsize, "Soft": 9, "Hard": 9}]);
            json!({"Memory": 64 << 20, "MemorySwap": 64 << 20, "PidsLimit": 52, "Ulimits": ulimits})
        };
        for held in [of("fsize", "nofile"), of("RLIMIT_FSIZE", "RLIMIT_NOFILE")] {
            assert_eq!(not_held(&json!([]), &held, ALL), None);
        }
        for (key, value, name) in [
            ("Memory", json!(0), "memory"),
            ("MemorySwap", json!(-1), "memory"),
            ("PidsLimit", Value::Null, "processes"),
            ("Ulimits", json!([]), "file_size"),
        ] {
            let mut made = of("fsize", "nofile");
            made[key] = value;
            let reason = not_held(&json!([]), &made, ALL).unwrap();
            assert!(reason.contains(&format!("`{name}`")), "{reason}");
            assert_eq!(not_held(&json!([]), &made, Limits::default()), None);
        }
    }

    #[test]
    fn the_usual_number_of_processes_may_be_left_out_but_that_shows() {
        let limits = Limits { processes: Some(SANDBOX_PROCESSES), ..Limits::default() };
        for (made, holds) in [(json!({"PidsLimit": 2050}), true), (json!({"PidsLimit": 0}), false), (json!({}), false)]
        {
            assert_eq!((not_held(&json!([]), &made, limits), usual_holds(&made, limits)), (None, holds));
        }
    }
}
