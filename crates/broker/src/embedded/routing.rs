//! Which queues a message goes to: the bindings of `utils` (topic keys) and `tasks` (exact keys). It knows neither
//! messages nor consumers.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

/// All bindings. Exact keys cost one look-up however many there are; keys with wildcards are tried one by one, which is
/// right because only watchers of everything use them.
#[derive(Debug, Default)]
pub(super) struct Routing {
    tasks: HashMap<String, Vec<Arc<str>>>,
    utils: HashMap<String, Vec<Arc<str>>>,
    patterns: Vec<(String, Arc<str>)>,
    /// The keys of each queue on `utils`, so that its deletion looks at no others.
    keys: HashMap<Arc<str>, HashSet<String>>,
}

impl Routing {
    /// Binds to `tasks`.
    pub(super) fn bind_tasks(&mut self, queue: &Arc<str>, key: &str) {
        let queues = self.tasks.entry(key.to_owned()).or_default();
        if !queues.contains(queue) {
            queues.push(Arc::clone(queue));
        }
    }

    /// Binds to `utils`.
    pub(super) fn bind_utils(&mut self, queue: &Arc<str>, key: &str) {
        if !self.keys.entry(Arc::clone(queue)).or_default().insert(key.to_owned()) {
            return;
        }
        if is_pattern(key) {
            self.patterns.push((key.to_owned(), Arc::clone(queue)));
        } else {
            self.utils.entry(key.to_owned()).or_default().push(Arc::clone(queue));
        }
    }

    /// Takes a binding to `utils` away.
    pub(super) fn unbind_utils(&mut self, queue: &str, key: &str) {
        if !self.keys.get_mut(queue).is_some_and(|keys| keys.remove(key)) {
            return;
        }
        if is_pattern(key) {
            self.patterns.retain(|(pattern, bound)| !(pattern == key && &**bound == queue));
        } else if let Some(queues) = self.utils.get_mut(key) {
            queues.retain(|bound| &**bound != queue);
            if queues.is_empty() {
                self.utils.remove(key);
            }
        }
    }

    /// Forgets a queue; `task_keys` are its keys on `tasks`.
    pub(super) fn forget(&mut self, queue: &str, task_keys: &[String]) {
        for key in self.keys.get(queue).cloned().unwrap_or_default() {
            self.unbind_utils(queue, &key);
        }
        self.keys.remove(queue);
        for key in task_keys {
            if let Some(queues) = self.tasks.get_mut(key) {
                queues.retain(|bound| &**bound != queue);
                if queues.is_empty() {
                    self.tasks.remove(key);
                }
            }
        }
    }

    /// Adds the queues that `tasks` gives for `key`.
    pub(super) fn tasks(&self, key: &str, queues: &mut Vec<Arc<str>>) {
        queues.extend(self.tasks.get(key).into_iter().flatten().cloned());
    }

    /// Adds the queues that `utils` gives for `key`; one may be there twice.
    pub(super) fn utils(&self, key: &str, queues: &mut Vec<Arc<str>>) {
        queues.extend(self.utils.get(key).into_iter().flatten().cloned());
        queues.extend(self.patterns.iter().filter(|(pattern, _)| matches(pattern, key)).map(|(_, q)| Arc::clone(q)));
    }
}

fn is_pattern(key: &str) -> bool {
    key.split('.').any(|word| word == "*" || word == "#")
}

/// Whether a topic key matches: `*` is one word, `#` any number of words. After a mismatch only the last `#` takes one
/// word more, so that a hostile key costs at most words times words.
fn matches(pattern: &str, key: &str) -> bool {
    let (mut pattern, mut key) = (Words::of(pattern), Words::of(key));
    let mut retry: Option<(Words<'_>, Words<'_>)> = None;
    loop {
        match (pattern.first(), key.first()) {
            (Some("#"), _) => {
                pattern = pattern.rest();
                retry = Some((pattern, key));
            }
            (Some(wanted), Some(word)) if wanted == "*" || wanted == word => {
                (pattern, key) = (pattern.rest(), key.rest());
            }
            (None, None) => return true,
            _ => match retry {
                Some((after, from)) if from.first().is_some() => {
                    let from = from.rest();
                    (pattern, key, retry) = (after, from, Some((after, from)));
                }
                _ => return false,
            },
        }
    }
}

/// What is left of a key; none when all words were read. The empty key has one word, which is empty.
#[derive(Clone, Copy)]
struct Words<'a>(Option<&'a str>);

impl<'a> Words<'a> {
    fn of(key: &'a str) -> Self {
        Self(Some(key))
    }

    fn first(self) -> Option<&'a str> {
        self.0.map(|left| left.split_once('.').map_or(left, |(word, _)| word))
    }

    fn rest(self) -> Self {
        Self(self.0.and_then(|left| left.split_once('.')).map(|(_, rest)| rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_one_word_and_a_hash_any_number() {
        for (pattern, key, expected) in [
            ("build.*", "build.7", true),
            ("build.*", "build", false),
            ("build.*", "build.7.x", false),
            ("*.7", "build.7", true),
            ("#", "", true),
            ("#", "a.b.c", true),
            ("build.#", "build", true),
            ("build.#", "build.1.2", true),
            ("build.#", "job.1", false),
            ("#.end", "end", true),
            ("#.end", "a.end.b.end", true),
            ("#.end", "a.end.b", false),
            ("a.#.z", "a.z", true),
            ("a.#.*.z", "a.z", false),
            ("a.#.*.z", "a.b.c.z", true),
            ("#.b.#", "a.b.c", true),
            ("*.*", "a", false),
        ] {
            assert_eq!(matches(pattern, key), expected, "{pattern} and {key}");
        }
    }

    #[test]
    fn a_hostile_pattern_is_answered_at_once() {
        let pattern = vec!["#.a"; 200].join(".") + ".b";
        let key = vec!["a"; 5_000].join(".");
        assert!(!matches(&pattern, &key));
    }

    #[test]
    fn a_deleted_queue_leaves_nothing_behind() {
        let mut routing = Routing::default();
        let queue: Arc<str> = "q".into();
        routing.bind_tasks(&queue, "any");
        routing.bind_utils(&queue, "a");
        routing.bind_utils(&queue, "a");
        routing.bind_utils(&queue, "a.#");
        let mut found = Vec::new();
        routing.utils("a", &mut found);
        assert_eq!(found.len(), 2, "one for the exact key, one for the pattern");
        routing.forget("q", &["any".to_owned()]);
        assert!(routing.tasks.is_empty() && routing.utils.is_empty() && routing.patterns.is_empty());
        assert!(routing.keys.is_empty());
    }
}
