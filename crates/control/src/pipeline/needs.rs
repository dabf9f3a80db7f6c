//! What jobs need of each other: known names, no cycle.

use std::collections::{HashMap, HashSet};

use wire::{Problem, pipeline::JobSpec};

use super::{
    fields::{nearest, shown},
    yaml::Node,
};

/// Checks the needs of all jobs; `named` are the nodes of each job's needs, in the same order.
pub(super) fn check(jobs: &[JobSpec], named: &[&[Node]]) -> Result<(), Problem> {
    let index: HashMap<&str, usize> = jobs.iter().enumerate().map(|(n, job)| (job.name.as_str(), n)).collect();
    let mut needs: Vec<Vec<usize>> = Vec::with_capacity(jobs.len());
    for (job, nodes) in jobs.iter().zip(named) {
        let mut seen = HashSet::new();
        let mut indexes = Vec::new();
        for (need, node) in job.needs.iter().zip(*nodes) {
            let Some(&other) = index.get(need.as_str()) else {
                let right = match nearest(need, jobs.iter().map(|job| job.name.as_str())) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => "the pipeline has no such job".to_owned(),
                };
                let detail = format!("unknown job `{}` in `needs` of job `{}`: {right}", shown(need), job.name);
                return Err(node.at.problem(detail));
            };
            if !seen.insert(other) {
                return Err(node.at.problem(format!("`needs` of job `{}` names `{need}` twice", job.name)));
            }
            indexes.push(other);
        }
        needs.push(indexes);
    }
    let Some(cycle) = cycle(&needs) else { return Ok(()) };
    // The entry that leads from the first job of the cycle to the second one.
    let first = cycle[0];
    let second = cycle[1 % cycle.len()];
    let entry = needs[first].iter().position(|need| *need == second).unwrap_or_default();
    let path: Vec<&str> = cycle.iter().chain([&first]).map(|n| jobs[*n].name.as_str()).collect();
    Err(named[first][entry]
        .at
        .problem(format!("these jobs wait for each other, so none could ever run: {}", path.join(" → "))))
}

/// The jobs of a cycle, beginning with the first of them in the file; none if there is no cycle.
fn cycle(needs: &[Vec<usize>]) -> Option<Vec<usize>> {
    #[derive(Clone, Copy, PartialEq)]
    enum Mark {
        New,
        Open,
        Done,
    }
    let mut marks = vec![Mark::New; needs.len()];
    for root in 0..needs.len() {
        // A path of open jobs, each with how many of its needs were followed.
        let mut path: Vec<(usize, usize)> = Vec::new();
        if marks[root] == Mark::New {
            marks[root] = Mark::Open;
            path.push((root, 0));
        }
        while let Some((job, followed)) = path.last_mut() {
            let Some(&next) = needs[*job].get(*followed) else {
                marks[*job] = Mark::Done;
                path.pop();
                continue;
            };
            *followed += 1;
            match marks[next] {
                Mark::Done => {}
                Mark::New => {
                    marks[next] = Mark::Open;
                    path.push((next, 0));
                }
                Mark::Open => {
                    let from = path.iter().position(|(job, _)| *job == next)?;
                    let mut cycle: Vec<usize> = path[from..].iter().map(|(job, _)| *job).collect();
                    let first = cycle.iter().enumerate().min_by_key(|(_, job)| **job).map_or(0, |(n, _)| n);
                    cycle.rotate_left(first);
                    return Some(cycle);
                }
            }
        }
    }
    None
}
