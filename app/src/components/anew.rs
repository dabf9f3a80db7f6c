//! A page's data, read once more after each change that is made on the page. It knows no type of data, so it is one piece
//! of code whatever the page.

use leptos::{prelude::*, task::spawn_local};
use serde_json::Value;
use wire::Problem;

use super::page_data::Reading;
use crate::api::PageError;

/// Reads a page's data once more.
#[derive(Clone, Copy)]
pub struct Anew {
    /// Begins to.
    pub again: Callback<()>,
    /// Why the last reading was refused.
    pub problem: RwSignal<Option<Problem>>,
}

/// `put` is told what was read, unless another reading has begun since: that one knows more.
pub fn anew(read: impl Fn() -> Reading + Send + Sync + 'static, put: impl Fn(Value) + Send + Sync + 'static) -> Anew {
    begin(Box::new(read), Box::new(put))
}

fn begin(read: Box<dyn Fn() -> Reading + Send + Sync>, put: Box<dyn Fn(Value) + Send + Sync>) -> Anew {
    let problem = RwSignal::new(None::<Problem>);
    let turn = StoredValue::new(0_u32);
    let put = StoredValue::new(put);
    let again = Callback::new(move |()| {
        turn.update_value(|turn| *turn += 1);
        let (mine, reading) = (turn.get_value(), read());
        spawn_local(async move {
            let answer = reading.await;
            // The person may have left the page.
            if turn.try_get_value() != Some(mine) {
                return;
            }
            match answer {
                Ok(answer) => {
                    problem.set(None);
                    put.with_value(|put| put(answer.data));
                }
                Err(PageError(refused)) => problem.set(Some(refused)),
            }
        });
    });
    Anew { again, problem }
}
