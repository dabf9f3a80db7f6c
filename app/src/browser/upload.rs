//! A file on its way to the server as a payload, with its progress. Only `XMLHttpRequest` tells how much has been sent.

use leptos::ev::Event;
use wasm_bindgen::{JsCast as _, closure::Closure};
use web_sys::{HtmlInputElement, ProgressEvent, XmlHttpRequest};
use wire::Problem;

use crate::json;

type OnEvent<E> = Closure<dyn FnMut(E)>;

/// A file that is being sent; dropped, it is not sent any further.
pub struct Upload {
    request: XmlHttpRequest,
    // Called by the browser until the request is gone.
    _sent: OnEvent<ProgressEvent>,
    _done: OnEvent<Event>,
}

impl Upload {
    /// Sends the file that was chosen in the field of `event`; none if none was. `sent` is told thousandths, `done` the text of
    /// the claim check or why there is none.
    #[must_use]
    pub fn of_chosen(
        event: &Event,
        mut sent: impl FnMut(u32) + 'static,
        mut done: impl FnMut(Result<String, Problem>) + 'static,
    ) -> Option<Self> {
        let field: HtmlInputElement = event.target()?.dyn_into().ok()?;
        let file = field.files()?.item(0)?;
        let request = XmlHttpRequest::new().ok()?;
        request.open("POST", "/api/v1/payloads").ok()?;
        let kind = Some(file.type_()).filter(|kind| !kind.is_empty());
        request.set_request_header("content-type", kind.as_deref().unwrap_or("application/octet-stream")).ok()?;
        let on_sent = OnEvent::new(move |event: ProgressEvent| {
            if event.total() > 0.0 {
                sent((event.loaded() / event.total() * 1000.0) as u32);
            }
        });
        let asked = request.clone();
        // At its end, however it ended.
        let on_done = OnEvent::new(move |_: Event| done(answer(&asked)));
        request.upload().ok()?.set_onprogress(Some(on_sent.as_ref().unchecked_ref()));
        request.set_onloadend(Some(on_done.as_ref().unchecked_ref()));
        request.send_with_opt_blob(Some(&file)).ok()?;
        Some(Self { request, _sent: on_sent, _done: on_done })
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        self.request.set_onloadend(None);
        if let Ok(upload) = self.request.upload() {
            upload.set_onprogress(None);
        }
        // Refused where it has ended already.
        let _ = self.request.abort();
    }
}

fn answer(request: &XmlHttpRequest) -> Result<String, Problem> {
    let status = request.status().unwrap_or(0);
    let text = request.response_text().ok().flatten().unwrap_or_default();
    match status {
        201 => Ok(text),
        0 => Err(Problem::new(
            503,
            "not reachable",
            "The file could not be sent: the server cannot be reached. Choose it again.",
        )),
        _ => Err(json::read(&text).unwrap_or_else(|_| {
            Problem::new(status, "refused", format!("The server answered with status {status} and no reason."))
        })),
    }
}
