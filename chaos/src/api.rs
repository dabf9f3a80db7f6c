//! What a client asks over HTTP. It repeats what was not answered, as clients do; a refusal is given back.

use std::{sync::Arc, time::Duration};

use serde::de::DeserializeOwned;

use crate::{
    failure::{Explain as _, Failure, Result},
    ledger::Ledger,
};

/// An answer that takes longer is asked for again.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);
/// The wait before a request is repeated.
const AGAIN_AFTER: Duration = Duration::from_millis(400);

/// See the module.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) address: String,
    pub(crate) token: String,
    agent: ureq::Agent,
    ledger: Arc<Ledger>,
}

/// Status and body, and what the headers of a log say.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) text: String,
    pub(crate) total: u64,
    pub(crate) sealed: bool,
    pub(crate) offset: Option<u64>,
}

impl Answer {
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_str(&self.text).explain(|| format!("an answer cannot be read: {} {}", self.status, self.text))
    }

    /// Neither done nor refused: to be asked again.
    fn is_for_later(&self) -> bool {
        self.status >= 500 || matches!(self.status, 408 | 425 | 429)
    }
}

impl Api {
    pub(crate) fn new(address: String, token: String, ledger: Arc<Ledger>) -> Self {
        let config = ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(ANSWER_WITHIN));
        // A connection that was cut meanwhile would look like a request that was not answered.
        let agent = config.max_idle_connections(0).build().into();
        Self { address, token, agent, ledger }
    }

    /// One request, asked once.
    async fn once(&self, path: String, body: Option<String>, key: Option<String>) -> Result<Answer> {
        let (agent, bearer) = (self.agent.clone(), format!("Bearer {}", self.token));
        let url = format!("http://{}/api/v1{path}", self.address);
        let asked = tokio::task::spawn_blocking(move || {
            let answer = match body {
                None => agent.get(url).header("authorization", bearer).call(),
                Some(body) => {
                    let mut request = agent.post(url).header("authorization", bearer);
                    if let Some(key) = key {
                        request = request.header("idempotency-key", key);
                    }
                    request.send(body)
                }
            };
            let mut answer = answer.explain(|| "no answer".to_owned())?;
            let header = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok()?.parse().ok());
            let (total, offset) = (header("x-log-total").unwrap_or(0), header("x-log-offset"));
            let sealed = answer.headers().get("x-log-sealed").is_some_and(|value| value == "true");
            let status = answer.status().as_u16();
            // A page of a log has up to 10,000 lines.
            let text = answer.body_mut().with_config().limit(64 << 20).read_to_string();
            let text = text.explain(|| "half an answer".to_owned())?;
            Ok(Answer { status, text, total, sealed, offset })
        });
        asked.await.explain(|| "a request broke off".to_owned())?
    }

    /// Asks until there is an answer that is no "later".
    async fn until_answered(&self, path: &str, body: Option<&str>, key: Option<&str>) -> Answer {
        loop {
            match self.once(path.to_owned(), body.map(str::to_owned), key.map(str::to_owned)).await {
                Ok(answer) if !answer.is_for_later() => return answer,
                Ok(answer) => self.ledger.count(format!("answers {}, asked again", answer.status)),
                Err(failure) => {
                    self.ledger.count("requests without an answer, asked again");
                    self.ledger.note(&format!("{path}: {failure}"));
                }
            }
            tokio::time::sleep(AGAIN_AFTER).await;
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.until_answered(path, None, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: &str, key: Option<&str>) -> Answer {
        self.until_answered(path, Some(body), key).await
    }

    /// A read that must succeed.
    pub(crate) async fn read<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        let answer = self.get(path).await;
        if answer.status != 200 {
            return Err(Failure(format!("GET {path} was answered {}: {}", answer.status, answer.text)));
        }
        answer.json()
    }

    /// Writes a pipeline.
    pub(crate) async fn apply(&self, name: &str, yaml: String) -> Result<()> {
        let request = self.agent.put(format!("http://{}/api/v1/pipelines/{name}", self.address));
        let request = request.header("authorization", format!("Bearer {}", self.token));
        let sent = tokio::task::spawn_blocking(move || request.send(yaml)).await;
        let sent = sent.explain(|| "a request broke off".to_owned())?;
        let mut answer = sent.explain(|| format!("the pipeline {name}"))?;
        match answer.status().as_u16() {
            200 | 201 => Ok(()),
            status => {
                let text = answer.body_mut().read_to_string().unwrap_or_default();
                Err(Failure(format!("the pipeline {name} was answered {status}: {text}")))
            }
        }
    }
}
