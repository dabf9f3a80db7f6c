//! What the pages ask of the browser. On the server each of these has an inert answer, so that components read the
//! same on both sides and the first render is equal.

#[cfg(target_arch = "wasm32")]
mod leaving;
#[cfg(target_arch = "wasm32")]
mod typed;
#[cfg(target_arch = "wasm32")]
mod upload;
#[cfg(target_arch = "wasm32")]
mod window;
#[cfg(target_arch = "wasm32")]
pub use {leaving::AskBeforeLeaving, typed::Typed, upload::Upload, window::*};

#[cfg(not(target_arch = "wasm32"))]
mod absent;
#[cfg(not(target_arch = "wasm32"))]
pub use absent::*;
