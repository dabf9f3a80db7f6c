//! Who is signed in, and what they may do: told by the server with the document, and anew when it changes. What somebody may
//! not do is not offered to them; the server refuses it anyway.

use leptos::{prelude::*, task::spawn_local};
use serde_json::Value;
use wire::{PipelineName, account::OwnView, authority::Role};

use crate::{json::Json, live::Live, rest};

/// What was last told: a [`OwnView`], of which the pages that everybody loads read a few words only.
#[derive(Clone, Copy)]
pub struct Own(RwSignal<Value>);

#[cfg(feature = "ssr")]
fn told() -> Value {
    let own = use_context::<OwnView>();
    own.and_then(|own| serde_json::to_value(own).ok()).unwrap_or_default()
}

#[cfg(not(feature = "ssr"))]
fn told() -> Value {
    Value::Null
}

fn role(word: &Value) -> Option<Role> {
    let word = word.as_str()?;
    Role::ALL.into_iter().find(|role| role.as_str() == word)
}

impl Own {
    /// For the whole document, once.
    pub fn provide() {
        let own = RwSignal::new(SharedValue::<Value, Json>::new_with_encoding(told).into_inner());
        provide_context(Self(own));
        let Some(live) = use_context::<Live>() else { return };
        Effect::new(move |_| {
            if live.renewed.get() == 0 {
                return;
            }
            spawn_local(async move {
                // Refused where the session has ended meanwhile, which the socket tells.
                if let Ok(fresh) = rest::own().await {
                    own.set(fresh);
                }
            });
        });
    }

    /// What the document has.
    #[must_use]
    pub fn get() -> Self {
        use_context().unwrap_or_else(|| Self(RwSignal::new(Value::Null)))
    }

    /// Whether there is somebody. Tracked, as all that follows.
    #[must_use]
    pub fn is_somebody(self) -> bool {
        self.0.with(|own| !own.is_null())
    }

    /// Of the person or the token.
    #[must_use]
    pub fn name(self) -> String {
        self.0.with(|own| own["name"].as_str().unwrap_or_default().to_owned())
    }

    /// Whether it is a person, and no token that was exchanged for a session.
    #[must_use]
    pub fn is_person(self) -> bool {
        self.0.with(|own| own["is_person"] == true)
    }

    /// What people call the provider of OpenID Connect that they can sign in by: as it is when the server starts, so it is not
    /// tracked.
    #[must_use]
    pub fn provider(self) -> Option<String> {
        self.0.with_untracked(|own| own["provider"].as_str().map(str::to_owned))
    }

    /// All of it, for the pages that show it; none where nobody is signed in.
    #[must_use]
    #[inline(never)]
    pub fn view(self) -> Option<OwnView> {
        serde_json::from_value(self.0.get()).ok()
    }

    /// Whether the role everywhere is this one or a greater one.
    #[must_use]
    pub fn everywhere(self, least: Role) -> bool {
        self.0.with(|own| role(&own["grants"]["everywhere"]) >= Some(least))
    }

    /// The same for the role in a pipeline.
    #[must_use]
    pub fn in_pipeline(self, least: Role, pipeline: &PipelineName) -> bool {
        self.everywhere(least) || self.0.with(|own| role(&own["grants"]["pipelines"][pipeline.as_str()]) >= Some(least))
    }
}

/// The sentence for what is seen and not done by who is not admin everywhere.
pub fn not_admin(sentence: &'static str) -> impl Fn() -> Option<&'static str> + Copy {
    let own = Own::get();
    move || (!own.everywhere(Role::Admin)).then_some(sentence)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_greater_role_counts_and_nobody_may_do_nothing() {
        Owner::new().with(|| {
            let own = |grants| Own(RwSignal::new(json!({"name": "Ada", "grants": grants, "is_person": true})));
            let (site, other): (PipelineName, PipelineName) = ("site".parse().unwrap(), "other".parse().unwrap());
            let ada = own(json!({"everywhere": "viewer", "pipelines": {"site": "builder"}}));
            assert!(ada.in_pipeline(Role::Builder, &site) && !ada.in_pipeline(Role::Admin, &site));
            assert!(ada.in_pipeline(Role::Viewer, &other) && !ada.in_pipeline(Role::Builder, &other));
            assert!(ada.everywhere(Role::Viewer) && !ada.everywhere(Role::Builder));
            let admin = own(json!({"everywhere": "admin"}));
            assert!(admin.in_pipeline(Role::Admin, &site) && admin.is_person());
            let nobody = Own(RwSignal::new(Value::Null));
            assert!(
                !nobody.in_pipeline(Role::Viewer, &site) && !nobody.everywhere(Role::Viewer) && !nobody.is_somebody()
            );
        });
    }
}
