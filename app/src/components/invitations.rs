//! Inviting somebody: the form that makes a link, and the links that can still be used.

use leptos::prelude::*;
use wire::{
    account::{InvitationView, MadeInvitation, NewInvitation},
    authority::{Grants, Role},
};

use super::{
    deed::Deed,
    grants_field::{GrantsField, in_words},
    person_row::{Asks, PersonRow},
    shown_once::ShownOnce,
    text_field::TextField,
    time::Time,
};
use crate::rest::people;

/// Characters of what is said of an invitation.
const NOTE_CHARS_MAX: &str = "100";

/// The form.
#[component]
pub fn InviteForm(
    /// Pipelines in which one can have a role.
    pipelines: Vec<String>,
    /// Told when a link was made.
    on_done: Callback<()>,
) -> impl IntoView {
    let deed = Deed::new();
    let note = RwSignal::new(String::new());
    let grants = RwSignal::new(Grants::everywhere(Role::Viewer));
    let made = RwSignal::new(None::<MadeInvitation>);
    let submit = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        let wanted = NewInvitation { note: note.get_untracked(), grants: grants.get_untracked() };
        deed.ask(people::invite(wanted), move |invitation| {
            made.set(Some(invitation));
            note.set(String::new());
            let _ = on_done.try_run(());
        });
    };
    let shown = move || {
        made.get().map(|MadeInvitation { link, invitation }| {
            view! {
                <ShownOnce secret=link label="Copy the link">
                    "Send this link to who is to have it: it makes one account (" {in_words(&invitation.grants)}
                    ") and is good until " <Time at=invitation.expires_at/> ". It is not shown again."
                </ShownOnce>
            }
        })
    };
    view! {
        <form class="trigger needs-js" on:submit=submit>
            <TextField
                id="note"
                label="For whom"
                value=note
                maxlength=NOTE_CHARS_MAX
                about="Only admins read it. Who opens the link chooses a name and a password."
            />
            <GrantsField grants pipelines within=Grants::everywhere(Role::Admin)/>
            {deed.note()}
            <button class="primary" type="submit" disabled=move || deed.busy.get()>"Make a link"</button>
        </form>
        {shown}
    }
}

/// One that can still be used.
#[component]
pub fn InvitationRow(
    /// The invitation.
    invitation: InvitationView,
    /// Told when it was taken back.
    on_done: Callback<()>,
) -> impl IntoView {
    let InvitationView { id, note, grants, invited_by, expires_at, .. } = invitation;
    let deed = Deed::new();
    let name = if note.is_empty() { "Somebody".to_owned() } else { note };
    let run = Callback::new(move |()| deed.then(people::revoke_invitation(id.clone()), on_done));
    let when = vec![("good until".to_owned(), Some(expires_at))];
    let (about, spoken) =
        (format!("{}, invited by {invited_by}", in_words(&grants)), format!("Take back the invitation: {name}"));
    let ends = Asks { label: "Take back", question: "Take it back?", yes: "Take it back" };
    view! { <PersonRow name about when ends spoken deed run/> }
}
