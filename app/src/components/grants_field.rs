//! What is granted: in words, and as a field of a form. A role everywhere, and roles in single pipelines.

use leptos::prelude::*;
use wire::{
    PipelineName,
    authority::{Grants, Role},
};

/// Named one by one in words; beyond it pipelines are counted.
const NAMED_MAX: usize = 4;

/// In words: `viewer everywhere, builder of site and docs`.
#[must_use]
pub fn in_words(grants: &Grants) -> String {
    let mut parts: Vec<String> = grants.everywhere.iter().map(|role| format!("{role} everywhere")).collect();
    for role in Role::ALL.into_iter().rev() {
        let names: Vec<&str> =
            grants.pipelines.iter().filter(|(_, other)| **other == role).map(|(name, _)| name.as_str()).collect();
        match names.as_slice() {
            [] => {}
            [one] => parts.push(format!("{role} of {one}")),
            some if some.len() <= NAMED_MAX => {
                let (last, first) = (some[some.len() - 1], &some[..some.len() - 1]);
                parts.push(format!("{role} of {} and {last}", first.join(", ")));
            }
            many => {
                let shown = many[..NAMED_MAX].join(", ");
                parts.push(format!("{role} of {shown} and {} more pipelines", many.len() - NAMED_MAX));
            }
        }
    }
    if parts.is_empty() { "nothing".to_owned() } else { parts.join(", ") }
}

/// The roles that one may give who has `most` oneself.
fn roles(most: Option<Role>) -> Vec<Role> {
    Role::ALL.into_iter().filter(|role| Some(*role) <= most).collect()
}

/// The field.
#[component]
pub fn GrantsField(
    /// What is chosen.
    grants: RwSignal<Grants>,
    /// Pipelines that can be chosen.
    pipelines: Vec<String>,
    /// What who grants has: nobody gives more.
    within: Grants,
) -> impl IntoView {
    let everywhere = within.everywhere;
    let chosen = grants.with_untracked(|grants| grants.everywhere);
    let within = StoredValue::new(within);
    let pipelines = StoredValue::new(pipelines);
    let names = move || grants.with(|grants| grants.pipelines.keys().cloned().collect::<Vec<_>>());
    let set_everywhere = Callback::new(move |role: Option<Role>| grants.update(|grants| grants.everywhere = role));
    let row = move |name: PipelineName| {
        let role = grants.with_untracked(|grants| grants.pipelines.get(&name).copied());
        // One that somebody else gave is not taken away by opening the form.
        let most = within.with_value(|within| within.role_in(&name)).max(role);
        let (set, gone, text) = (name.clone(), name.clone(), name.to_string());
        let on_choose = Callback::new(move |role: Option<Role>| {
            if let Some(role) = role {
                let name = set.clone();
                grants.update(move |grants| {
                    grants.pipelines.insert(name, role);
                });
            }
        });
        view! {
            <div class="grant">
                <RoleSelect label=format!("Role in {text}") chosen=role roles=roles(most) on_choose/>
                <span>"of " <b>{text.clone()}</b></span>
                <button
                    class="small"
                    type="button"
                    aria-label=format!("No role in {text}")
                    on:click=move |_| {
                        grants.update(|grants| {
                            grants.pipelines.remove(&gone);
                        });
                    }
                >
                    "Remove"
                </button>
            </div>
        }
    };
    // Made anew when a pipeline was chosen: what it offers is what is left.
    let more = move |_| {
        let left: Vec<String> = grants.with_untracked(|grants| {
            let is_left = |name: &String| {
                let name = name.parse::<PipelineName>().ok();
                name.is_some_and(|name| {
                    !grants.pipelines.contains_key(&name) && within.with_value(|within| within.role_in(&name)).is_some()
                })
            };
            pipelines.with_value(|all| all.iter().filter(|name| is_left(name)).cloned().collect())
        });
        let class = if left.is_empty() { "absent" } else { "" };
        let choose = move |event| {
            let Ok(name) = event_target_value(&event).parse::<PipelineName>() else { return };
            let role = within.with_value(|within| within.role_in(&name)).min(Some(Role::Builder));
            if let Some(role) = role {
                grants.update(move |grants| {
                    grants.pipelines.insert(name, role);
                });
            }
        };
        let options = left.into_iter().map(|name| view! { <option value=name.clone()>{name.clone()}</option> });
        view! {
            <select class=class aria-label="Add a role in a pipeline" on:change=choose>
                <option value="">"Add a pipeline…"</option>
                {options.collect_view()}
            </select>
        }
    };
    view! {
        <fieldset class="grants">
            <legend>"Role"</legend>
            <div class=if everywhere.is_some() { "grant" } else { "grant absent" }>
                <RoleSelect
                    label="Role everywhere".to_owned()
                    chosen
                    roles=roles(everywhere)
                    none=true
                    on_choose=set_everywhere
                />
                <span>"everywhere"</span>
            </div>
            <For each=names key=Clone::clone children=row/>
            <For each=move || [grants.with(|grants| grants.pipelines.len())] key=|count| *count children=more/>
        </fieldset>
    }
}

#[component]
fn RoleSelect(
    label: String,
    chosen: Option<Role>,
    roles: Vec<Role>,
    /// Whether there may be none.
    #[prop(optional)]
    none: bool,
    on_choose: Callback<Option<Role>>,
) -> impl IntoView {
    let none = none.then(|| view! { <option value="" selected=chosen.is_none()>"no role"</option> });
    let options = roles.into_iter().map(|role| {
        view! { <option value=role.as_str() selected=chosen == Some(role)>{role.as_str()}</option> }
    });
    view! {
        <select aria-label=label on:change=move |event| on_choose.run(event_target_value(&event).parse().ok())>
            {none}
            {options.collect_view()}
        </select>
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grants_are_told_in_words_the_greatest_first() {
        let mut grants = Grants::default();
        assert_eq!(in_words(&grants), "nothing");
        grants.everywhere = Some(Role::Viewer);
        for (name, role) in [("site", Role::Builder), ("docs", Role::Builder), ("lab", Role::Admin)] {
            grants.pipelines.insert(name.parse().unwrap(), role);
        }
        assert_eq!(in_words(&grants), "viewer everywhere, admin of lab, builder of docs and site");
        let many = (0..6).map(|n| format!("p{n}").parse().unwrap());
        let many = Grants::in_pipelines(Role::Viewer, many);
        assert_eq!(in_words(&many), "viewer of p0, p1, p2, p3 and 2 more pipelines");
    }

    #[test]
    fn nobody_gives_more_than_they_have() {
        assert_eq!(roles(Some(Role::Builder)), [Role::Viewer, Role::Builder]);
        assert_eq!(roles(None), []);
    }
}
