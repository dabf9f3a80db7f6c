//! What went wrong, in the server's own sentence.

use leptos::prelude::*;
use wire::Problem;

/// The sentence, where it stands in a file, and a way in when it is for want of a session.
#[component]
pub fn ProblemNote(
    /// What went wrong.
    problem: Problem,
) -> impl IntoView {
    let place = problem.line.map(|line| match problem.column {
        Some(column) => format!("Line {line}, column {column}"),
        None => format!("Line {line}"),
    });
    let signed_out = problem.status == 401;
    view! {
        <div class="problem" role="alert">
            {place.map(|place| view! { <strong>{place}</strong> })}
            <span>{problem.detail}</span>
            {signed_out.then(|| view! { <a href="/sign-in" rel="external">"Sign in"</a> })}
        </div>
    }
}
