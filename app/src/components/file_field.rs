//! A field for a file that is an input: it is sent as soon as it is chosen, and its claim check becomes the value.

use leptos::prelude::*;
use wire::{Problem, pipeline::InputSpec};

use super::problem_note::ProblemNote;
use crate::browser::Upload;

/// The field. `value` is empty until the file is whole at the server, and `busy` tells whether it is on its way.
#[component]
pub fn FileField(
    /// Which input.
    input: InputSpec,
    /// Files that are on their way.
    busy: RwSignal<u32>,
    /// Told the text of the claim check; empty while there is none.
    value: Callback<String>,
) -> impl IntoView {
    let (id, described) = (format!("input-{}", input.name), format!("input-{}-about", input.name));
    // Thousandths while it is being sent.
    let (sent, problem) = (RwSignal::new(None::<u32>), RwSignal::new(None::<Problem>));
    let upload = StoredValue::new_local(None::<Upload>);
    let ended = move || {
        // The page may be gone meanwhile.
        if sent.try_get_untracked().flatten().is_some() {
            sent.set(None);
            busy.update(|busy| *busy = busy.saturating_sub(1));
        }
    };
    let choose = move |event: leptos::ev::Event| {
        // What was chosen before is not sent any further.
        upload.set_value(None);
        ended();
        problem.set(None);
        value.run(String::new());
        let progress = move |thousandths| {
            let _ = sent.try_set(Some(thousandths));
        };
        let done = move |answer: Result<String, Problem>| {
            ended();
            match answer {
                Ok(check) => value.run(check),
                Err(refused) => {
                    let _ = problem.try_set(Some(refused));
                }
            }
        };
        if let Some(begun) = Upload::of_chosen(&event, progress, done) {
            sent.set(Some(0));
            busy.update(|busy| *busy += 1);
            upload.set_value(Some(begun));
        }
    };
    on_cleanup(move || _ = upload.try_update_value(|kept| *kept = None));
    let name = input.name.clone();
    let label = format!("Sending {name}");
    view! {
        <div class="field">
            <label for=id.clone()>
                {input.name.clone()}
                <span class="required">"required"</span>
            </label>
            <input id=id type="file" name=name required=true aria-describedby=described.clone() on:change=choose/>
            {move || {
                let label = label.clone();
                sent.get().map(|sent| view! { <progress class="sending" max="1000" value=sent.to_string() aria-label=label></progress> })
            }}
            {move || problem.get().map(|problem| view! { <ProblemNote problem/> })}
            <p id=described class="about">{input.description}</p>
        </div>
    }
}
