//! The jobs of a build in an order in which each stands behind all that it needs.

use store::model::Build;

/// Indexes of all jobs. A plan has no cycles; if one did, its jobs would be left out.
pub(super) fn by_needs(build: &Build) -> Vec<usize> {
    let mut open: Vec<usize> = build.jobs.iter().map(|job| job.plan.needs.len()).collect();
    let mut needed_by: Vec<Vec<usize>> = vec![Vec::new(); build.jobs.len()];
    for (n, job) in build.jobs.iter().enumerate() {
        for need in &job.plan.needs {
            needed_by[*need].push(n);
        }
    }
    let mut order: Vec<usize> = (0..build.jobs.len()).filter(|n| open[*n] == 0).collect();
    let mut next = 0;
    while let Some(&n) = order.get(next) {
        next += 1;
        for &dependent in &needed_by[n] {
            open[dependent] -= 1;
            if open[dependent] == 0 {
                order.push(dependent);
            }
        }
    }
    order
}
