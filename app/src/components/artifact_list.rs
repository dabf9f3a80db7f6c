//! Files that the chosen job left behind.

use leptos::prelude::*;
use wire::view::ArtifactView;

/// Bytes as people read them: `812 B`, `4.0 KiB`, `1.2 MiB`.
#[must_use]
pub fn size_text(bytes: u64) -> String {
    let mut value = bytes as f64;
    let mut unit = "B";
    for next in ["KiB", "MiB", "GiB", "TiB"] {
        if value < 1_024.0 {
            break;
        }
        value /= 1_024.0;
        unit = next;
    }
    if unit == "B" { format!("{bytes} B") } else { format!("{value:.1} {unit}") }
}

/// The list, nothing when there are none.
#[component]
pub fn ArtifactList(
    /// The files.
    #[prop(into)]
    artifacts: Signal<Vec<ArtifactView>>,
) -> impl IntoView {
    let row = |artifact: ArtifactView| {
        view! {
            <li>
                <a href=format!("/api/v1/artifacts/{}", artifact.id) rel="external" download>
                    <span class="name">{artifact.name}</span>
                    <span class="size">{size_text(artifact.size)}</span>
                </a>
            </li>
        }
    };
    view! {
        <Show when=move || artifacts.with(|all| !all.is_empty())>
            <section class="artifacts">
                <h2>"Artifacts"</h2>
                <ul>{move || artifacts.get().into_iter().map(row).collect_view()}</ul>
            </section>
        </Show>
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn sizes_read_as_people_read_them() {
        let shown = [812, 4_096, 1_258_291, 5_368_709_120].map(super::size_text);
        assert_eq!(shown, ["812 B", "4.0 KiB", "1.2 MiB", "5.0 GiB"]);
    }
}
