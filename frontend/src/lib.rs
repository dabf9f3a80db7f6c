//! Takes the pages over in the browser, and nothing else.

use app::parts::Part;
use leptos::leptos_dom::helpers::location_pathname;
use wasm_bindgen::prelude::wasm_bindgen;

/// Called by the document once the main part of the package is loaded.
#[wasm_bindgen]
pub async fn hydrate() {
    console_error_panic_hook::set_once();
    if let Some(part) = location_pathname().and_then(|path| Part::of_path(&path)) {
        // The document is taken over in one piece, so what shows it must be there. Without, it stays as the server made it,
        // and is what it is without scripts.
        if part.load().await.is_err() {
            app::browser::is_without_scripts();
            return;
        }
    }
    let typed = app::browser::Typed::of_document();
    leptos::mount::hydrate_body(app::App);
    typed.restore().await;
    // Whoever goes to another page need not wait for it. What fails is tried again there.
    for part in Part::ALL {
        let _ = part.load().await;
    }
}
