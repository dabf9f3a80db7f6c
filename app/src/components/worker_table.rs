//! The workers of a gateway instance, as a table of numbers.

use leptos::prelude::*;
use wire::view::WorkerView;

use super::{at_once::AtOnce, connection::grouped};

/// A worker's numbers, in the order of the columns.
fn numbers(worker: &WorkerView) -> [u64; 4] {
    [worker.sockets, worker.topics, worker.queue_length, worker.restarts]
}

/// The sums over some workers, in the order of the columns.
pub fn totals<'a>(workers: impl Iterator<Item = &'a WorkerView>) -> [u64; 4] {
    workers.map(numbers).fold([0; 4], |sums, row| std::array::from_fn(|at| sums[at].saturating_add(row[at])))
}

/// The table, with their sums below.
pub fn worker_table(instance: &str, workers: &[WorkerView]) -> impl IntoView {
    let mut rows: Vec<_> = workers.iter().map(|worker| row(worker.server_id.to_string(), numbers(worker))).collect();
    rows.push(row("All".to_owned(), totals(workers.iter())));
    view! {
        <table class="workers">
            <caption class="unseen">{format!("Workers of {instance}")}</caption>
            <thead>
                <tr>
                    <th scope="col">"Worker"</th>
                    <th scope="col" title="Pages and programs that are connected to it">"Sockets"</th>
                    <th scope="col" title="Builds and jobs that they watch">"Topics"</th>
                    <th scope="col" title="Messages that wait for it">"Queue"</th>
                    <th scope="col" title="How often it was started anew after a panic">"Restarts"</th>
                </tr>
            </thead>
            <tbody>{rows}</tbody>
        </table>
    }
}

fn row(name: String, numbers: [u64; 4]) -> AnyView {
    let [sockets, topics, queue, restarts] = numbers.map(grouped);
    let row = view! {
        <tr><th scope="row">{name}</th><td>{sockets}</td><td>{topics}</td><td>{queue}</td><td>{restarts}</td></tr>
    };
    AtOnce(row).into_any()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_taken_column_by_column() {
        let server_id = wire::ServerId::new("north", 1).unwrap();
        let worker = WorkerView { server_id, sockets: 1, topics: 20, queue_length: 300, restarts: u64::MAX };
        assert_eq!(totals([&worker, &worker].into_iter()), [2, 40, 600, u64::MAX]);
        assert_eq!(totals([].into_iter()), [0; 4]);
    }
}
